"""What the page draws: which lines, over which seconds, in which unit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from stress.report.figures import Report

Column = Sequence[float | None]
Columns = Mapping[str, Column]


def charts(report: Report) -> list[dict[str, Any]]:
    """In the order of the page."""
    series = report.series
    return [
        _chart("latency", "Latency of answers, by the second", "s", series["latency"], ("p50", "p95", "p99")),
        _chart("throughput", "Requests that ended, by the second", "/s", series["latency"], ("answered", "failed")),
        _chart("queue", "Requests waiting and running", "", series["queue"], ("waiting", "running", "retrying")),
        _memory(series["memory"]),
        _cpu(series["cpu"]),
    ]


def _chart(id_: str, title: str, unit: str, columns: Columns, names: Sequence[str]) -> dict[str, Any]:
    lines = [{"name": name, "values": columns[name]} for name in names if name in columns]
    return {"id": id_, "title": title, "unit": unit, "t": columns["t"], "lines": lines, "from_zero": True}


def _memory(columns: Columns) -> dict[str, Any]:
    megabytes = [None if value is None else value / 1e6 for value in columns.get("memory", ())]
    made = _chart(
        "memory", "Memory of the workers (PSS)", "MB", {"t": columns["t"], "workers": megabytes}, ("workers",)
    )
    return {**made, "from_zero": False}  # what matters is whether it grows


def _cpu(columns: Columns) -> dict[str, Any]:
    """From seconds used so far to cores in use."""
    times = columns["t"]
    parts = [name for name in columns if name != "t"]
    used = {"t": times[1:], **{name: _rates(times, columns[name]) for name in parts}}
    return _chart("cpu", "Processor time", "cores", used, parts)


def _rates(times: Column, seconds: Column) -> list[float | None]:
    looks = list(zip(times, seconds, strict=True))
    return [_rate(before, after) for before, after in itertools.pairwise(looks)]


def _rate(before: tuple[float | None, ...], after: tuple[float | None, ...]) -> float | None:
    """None where a look failed."""
    (start, used), (end, more) = before, after
    if start is None or end is None or used is None or more is None or end - start < 0.1:
        return None
    return (more - used) / (end - start)
