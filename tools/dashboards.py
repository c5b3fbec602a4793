"""The Grafana dashboards, made from `tools.panels`: `python -m tools.dashboards`; `--write` renews the files.

What every panel has in common stands here once. The files are what Grafana reads, so they are kept beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.panels import ARCHIVING, OVERVIEW, PROVIDERS, WORKERS, Panel, Row

FOLDER = Path(__file__).resolve().parents[1] / "ops" / "grafana" / "dashboards"

#: Of Grafana's 24 columns; rows.
WIDTH, HEIGHT = 8, 7


DASHBOARDS = {
    "overview": ("Pipeline: overview", OVERVIEW),
    "workers": ("Pipeline: workers", WORKERS),
    "providers": ("Pipeline: providers and cost", PROVIDERS),
    "archiving": ("Pipeline: archiving", ARCHIVING),
}


def dashboard(uid: str, title: str, rows: tuple[Row, ...]) -> dict[str, Any]:
    """What Grafana reads."""
    return {
        "uid": f"pipeline-{uid}",
        "title": title,
        "tags": ["pipeline"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), *(_variable(row.repeat) for row in rows if row.repeat)]},
        "panels": list(_panels(rows)),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(name: str) -> dict[str, Any]:
    query = f"label_values(cite_agent_requests_total, {name}_id)"
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": False,
        "current": {"text": ["other"], "value": ["other"]},
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    id_, y = 1, 0
    for row in rows:
        heading = {"id": id_, "type": "row", "title": row.title, "collapsed": False, "panels": []}
        place = {"gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        yield {**heading, **place, **({"repeat": row.repeat} if row.repeat else {})}
        id_, y = id_ + 1, y + 1
        for index, panel in enumerate(row.panels):
            x, down = index * WIDTH % 24, index * WIDTH // 24 * HEIGHT
            yield _graph(panel, id_, {"x": x, "y": y + down, "w": WIDTH, "h": HEIGHT})
            id_ += 1
        y += -(-len(row.panels) * WIDTH // 24) * HEIGHT


def _graph(panel: Panel, id_: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "$datasource"}
    return {
        "id": id_,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": query, "legendFormat": legend, "datasource": source}
            for n, (query, legend) in enumerate(panel.queries)
        ],
    }


def main() -> int:
    """Print which files are not what the lists make. Returns the exit code."""
    wrong = 0
    for uid, (title, rows) in DASHBOARDS.items():
        file, made = FOLDER / f"{uid}.json", json.dumps(dashboard(uid, title, rows), indent=2) + "\n"
        if "--write" in sys.argv:
            file.write_text(made)
        elif not file.exists() or file.read_text() != made:
            print(f"{file.name} is out of date: run `make format`")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
