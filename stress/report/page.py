"""A report as one self-contained HTML page: the verdict first, charts over time, every figure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from stress.report import charts, text
from stress.report.figures import Report

HERE = Path(__file__).parent


def page(report: Report) -> str:
    """The whole page. It loads nothing from anywhere."""
    made = {
        "title": escape(f"{report.name}: {_word(report)}"),
        "body": "\n".join(_body(report)),
        "data": _embedded({"charts": charts.charts(report), "faults": [asdict(fault) for fault in report.faults]}),
        "script": (HERE / "charts.js").read_text(),
    }
    # in one pass: what is filled in is not looked at again
    return re.sub(r"{{(\w+)}}", lambda found: made[found[1]], (HERE / "page.html").read_text())


def _embedded(value: Any) -> str:
    """JSON that cannot end the element that holds it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _word(report: Report) -> str:
    return "passed" if report.passed else "failed"


def _body(report: Report) -> Iterator[str]:
    yield from _verdict(report)
    yield '<div class="tiles">' + "".join(_tile(name, value) for name, value in _tiles(report)) + "</div>"
    yield '<h2>Over time</h2><div class="charts">'
    for chart in charts.charts(report):
        caption = f"<figcaption>{escape(chart['title'])}</figcaption>"
        yield f'<figure id="{chart["id"]}">{caption}<div class="legend"></div><div class="tip"></div></figure>'
    yield "</div>"
    if report.faults:
        yield '<p class="soft">Shaded: ' + escape(", ".join(fault.name for fault in report.faults)) + "</p>"
    for grid in report.grids:
        yield f"<h2>{escape(grid.title)}</h2>" + _table(grid.columns, grid.rows)
    yield "<h2>Latency</h2>" + _latencies(report)
    yield "<h2>Everything else</h2>" + _table(("", ""), _facts(report))
    if report.errors:
        rows = [(e.where, e.what, e.count, text.duration(e.first), text.duration(e.last)) for e in report.errors]
        yield "<h2>Errors</h2>" + _table(("told by", "what", "count", "first", "last"), rows)
    yield "<h2>Settings</h2>" + _table(("setting", "value"), [(name, str(v)) for name, v in report.settings.items()])


def _verdict(report: Report) -> Iterator[str]:
    yield f'<section class="verdict {_word(report)}"><h1>{escape(report.name)}: <b>{_word(report)}</b></h1>'
    yield f"<p>{escape(str(report.plan['load']))}<br>{escape(str(report.plan['provider']))}</p>"
    where = f"{report.machine}; {report.plan['workers']} workers; began {report.began}"
    yield f'<p class="soft">{escape(where)}</p>'
    if report.producer.limit:
        yield f'<p class="limit">The producer was the limit, not the pipeline: {escape(report.producer.limit)}</p>'
    rows = [
        (
            "held" if verdict.passed else "BROKEN",
            verdict.text,
            text.measured(verdict),
        )
        for verdict in report.verdicts
    ]
    yield _table(("", "must hold", "measured"), rows) + "</section>"
    if report.invariants:
        yield "<ul>" + "".join(f'<li class="limit">{escape(broken)}</li>' for broken in report.invariants) + "</ul>"


def _tiles(report: Report) -> Iterator[tuple[str, str]]:
    requests, latency = report.requests, report.latency
    yield "requests", f"{requests.total}"
    yield "success rate", "-" if requests.success_rate is None else f"{requests.success_rate:.2%}"
    yield "answers a second", f"{requests.per_second:.1f}"
    yield "latency p50", text.duration(latency.p50) if latency else "-"
    yield "latency p95", text.duration(latency.p95) if latency else "-"
    yield "latency p99", text.duration(latency.p99) if latency else "-"
    yield "deepest queue", "not measured" if report.depth_max is None else f"{report.depth_max:.0f}"
    growth = report.memory.growth if report.memory else None
    yield "memory growth", "not measured" if growth is None else text.megabytes(growth)


def _tile(name: str, value: str) -> str:
    return f'<div class="tile"><span>{escape(name)}</span><strong>{escape(value)}</strong></div>'


def _latencies(report: Report) -> str:
    spreads = {
        "submit to answer": report.latency,
        "corrected for coordinated omission": report.corrected,
        "to accept": report.accepting,
        "in the queue": report.queue_wait,
        "running, all attempts": report.run_time,
    }
    names = ("min", "mean", "p50", "p95", "p99", "max")
    rows = [
        (what, *(text.duration(getattr(spread, name)) if spread else "-" for name in names))
        for what, spread in spreads.items()
    ]
    return _table(("", *names), rows) + f'<p class="soft">Correction: {escape(report.correction)}.</p>'


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    """The lines of the text report that have no place above."""
    for name, line in text.facts(report):
        yield name.strip(), line


def _table(columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Columns of numbers, durations and sizes stand to the right."""
    lines = [[text.cell(value) for value in row] for row in rows]
    kinds = [_kind(column) for column in zip(*lines, strict=True)] or [""] * len(columns)
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    body = "".join(f"<tr>{_cells(line, kinds)}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _kind(column: Iterable[str]) -> str:
    figures = all(shown == "-" or (shown[:1].isdigit() and len(shown) < 12) for shown in column)
    return ' class="n"' if figures else ""


def _cells(line: Sequence[str], kinds: Sequence[str]) -> str:
    return "".join(f"<td{kind}>{escape(shown)}</td>" for shown, kind in zip(line, kinds, strict=True))
