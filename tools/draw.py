"""Draw a dashboard from a Prometheus's data: `python -m tools.draw overview http://127.0.0.1:9090 docs/overview.svg`.

For a page that cannot hold a Grafana, and for looking at the panels without one. Draws the last minutes (`--minutes`).
"""

from __future__ import annotations

import argparse
import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

from tools.dashboards import FOLDER

#: Pixels: a panel, the room around its graph, its legend's lines and the width of a letter there.
WIDTH, HEIGHT, GAP, LEFT, TOP, LINE, LETTER = 400, 208, 12, 52, 34, 14, 5.6
GRAPH_WIDTH, GRAPH_HEIGHT = WIDTH - LEFT - 12, 118
COLUMNS, LEGEND_LINES = 3, 2

#: What an axis may end at, times a power of ten.
ENDS = (1, 2, 3, 4, 5, 6, 8, 10)

COLOURS = ("#3366cc", "#dc3912", "#ff9900", "#109618", "#990099", "#0099c6", "#dd4477", "#66aa00", "#b82e2e", "#316395")

#: Of what everybody expects to be red or green.
KNOWN = {
    **dict.fromkeys(("success", "succeeded"), "#109618"),
    **dict.fromkeys(("failure", "failed"), "#dc3912"),
    **dict.fromkeys(("cancelled",), "#888888"),
    **dict.fromkeys(("expired",), "#ff9900"),
}

UNITS = {"s": " s", "percentunit": "", "bytes": "", "reqps": "/s", "Bps": "/s"}

#: A series: its legend, its points of time and value.
Series = tuple[str, list[tuple[float, float]]]


def ask(url: str, query: str, start: float, end: float) -> list[dict[str, Any]]:
    """What a query gave over that time."""
    step = max(1.0, (end - start) / 120)
    given = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": step})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{given}", timeout=30) as response:  # noqa: S310 - as given
        found: list[dict[str, Any]] = json.load(response)["data"]["result"]
    return found


def series_of(panel: dict[str, Any], url: str, user: str, start: float, end: float) -> Iterator[Series]:
    """All that a panel shows."""
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", "30s").replace("$user", user)
        for one in ask(url, query, start, end):
            legend = target["legendFormat"]
            for label, value in one["metric"].items():
                legend = legend.replace(f"{{{{{label}}}}}", value)
            points = [(float(at), float(value)) for at, value in one["values"] if math.isfinite(float(value))]
            if points:
                yield legend, points


def shown(value: float, unit: str) -> str:
    """A figure on an axis."""
    if unit == "percentunit":
        return f"{value:.0%}"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.2g}{UNITS.get(unit, '')}" if value < 10 else f"{value:.0f}{UNITS.get(unit, '')}"


def end_of_axis(most: float, unit: str) -> float:
    """The first round figure that is not below `most`."""
    if unit == "percentunit" or most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(end * power for end in ENDS if end * power >= most * 0.999)


def colours_of(names: list[str]) -> list[str]:
    """One for each series. What others are known by is not given away."""
    taken = {KNOWN[name] for name in names if name in KNOWN}
    free = cycle(colour for colour in COLOURS if colour not in taken)
    return [KNOWN.get(name) or next(free) for name in names]


def told_apart(found: list[Series]) -> list[Series]:
    """Without those that were nought all the time, unless all were."""
    return [one for one in found if any(value for _, value in one[1])] or found


def draw(panel: dict[str, Any], found: list[Series], place: str, span: tuple[float, float]) -> Iterator[str]:
    """One panel as SVG, at that place, over that span of time."""
    start, end = span
    yield f'<g transform="translate({place})"><rect width="{WIDTH}" height="{HEIGHT}" rx="4" class="panel"/>'
    yield f'<text x="12" y="21" class="title">{escape(panel["title"])}</text>'
    unit = panel["fieldConfig"]["defaults"]["unit"]
    top = end_of_axis(max((value for _, points in found for _, value in points), default=0), unit)
    yield from axes(top, unit, (end - start) / 60)
    colours = colours_of([name for name, _ in found])
    for colour, (_, points) in zip(colours, found, strict=True):
        places = (
            f"{LEFT + GRAPH_WIDTH * (at - start) / (end - start):.1f},{TOP + GRAPH_HEIGHT * (1 - value / top):.1f}"
            for at, value in points
        )
        yield f'<polyline points="{" ".join(places)}" stroke="{colour}"/>'
    yield from legend([name for name, _ in found], colours)
    if not found:
        yield f'<text x="{WIDTH / 2}" y="{TOP + GRAPH_HEIGHT / 2}" class="axis" text-anchor="middle">nothing yet</text>'
    yield "</g>"


def axes(top: float, unit: str, minutes: float) -> Iterator[str]:
    """What the heights and the widths mean; the latter in minutes since the picture begins."""
    for part in (0, 0.5, 1):
        height = TOP + GRAPH_HEIGHT * (1 - part)
        yield f'<line x1="{LEFT}" x2="{LEFT + GRAPH_WIDTH}" y1="{height}" y2="{height}" class="grid"/>'
        yield f'<text x="{LEFT - 6}" y="{height + 4}" class="axis" text-anchor="end">{shown(top * part, unit)}</text>'
    for minute in range(math.floor(minutes) + 1):
        across = LEFT + GRAPH_WIDTH * minute / minutes
        words = f"{minute} min" if minute else "0"
        yield f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{TOP}" y2="{TOP + GRAPH_HEIGHT}" class="grid"/>'
        anchor = "end" if minute + 0.5 > minutes else "middle"
        yield f'<text x="{across:.1f}" y="{TOP + GRAPH_HEIGHT + 13}" class="axis" text-anchor="{anchor}">{words}</text>'


def legend(names: list[str], colours: list[str]) -> Iterator[str]:
    """The series' names, each beside its colour, in two lines; what has no room there is told by its number."""
    across, line = float(LEFT), 0
    for number, (name, colour) in enumerate(zip(names, colours, strict=True)):
        width = 16 + LETTER * len(name)
        if across > LEFT and across + width > WIDTH - 8:
            across, line = float(LEFT), line + 1
        if line == LEGEND_LINES:
            yield f'<text x="{WIDTH - 8}" y="21" class="axis" text-anchor="end">and {len(names) - number} more</text>'
            return
        down = TOP + GRAPH_HEIGHT + 32 + line * LINE
        yield f'<rect x="{across:.1f}" y="{down - 7}" width="8" height="8" rx="2" fill="{colour}"/>'
        yield f'<text x="{across + 12:.1f}" y="{down}" class="legend">{escape(name)}</text>'
        across += width + 8


def picture(dashboard: dict[str, Any], url: str, user: str, minutes: float) -> str:
    """A dashboard as SVG, its rows one below the other."""
    end = time.time()
    start = end - minutes * 60
    parts, column, y = list[str](), 0, GAP
    for panel in dashboard["panels"]:
        if panel["type"] == "row" or column == COLUMNS:
            y, column = y + (HEIGHT + GAP if column else 0), 0
        if panel["type"] == "row":
            title = escape(panel["title"].replace("$user", user))
            parts.append(f'<text x="{GAP}" y="{y + 18}" class="row">{title}</text>')
            y += 28
            continue
        found = told_apart(list(series_of(panel, url, user, start, end)))
        parts += draw(panel, found, f"{GAP + column * (WIDTH + GAP)},{y}", (start, end))
        column += 1
    width, height = GAP + COLUMNS * (WIDTH + GAP), y + HEIGHT + GAP
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">
<style>.panel{{fill:#fff;stroke:#ddd}}.title{{font-size:13px;font-weight:600;fill:#222}}.row{{font-size:15px;fill:#222}}
.axis{{font-size:10px;fill:#777}}.legend{{font-size:10px;fill:#333}}.grid{{stroke:#eee}}polyline{{fill:none;stroke-width:1.5}}</style>
<rect width="{width}" height="{height}" fill="#f4f5f7"/>
{chr(10).join(parts)}
</svg>
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.draw", description=__doc__)
    parser.add_argument("dashboard", choices=sorted(file.stem for file in FOLDER.glob("*.json")))
    parser.add_argument("prometheus", help="its URL")
    parser.add_argument("file", type=Path, help="the picture to be written")
    parser.add_argument("--minutes", type=float, default=5, help="how far back it begins (5)")
    parser.add_argument("--user", default="other", help="whose row is drawn (other)")
    given = parser.parse_args()
    dashboard = json.loads((FOLDER / f"{given.dashboard}.json").read_text())
    given.file.write_text(picture(dashboard, given.prometheus.rstrip("/"), given.user, given.minutes))


if __name__ == "__main__":
    main()
