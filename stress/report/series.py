"""A report's columns over time, from what a run has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stress.load.recorder import Slice
from stress.probe import Series
from stress.run import Run

#: Of each slice's answers; whole numbers, for a product of fractions may be a hair above a rank.
PERCENTILES = (50, 95, 99)


def series(run: Run) -> dict[str, Mapping[str, Sequence[float | None]]]:
    """By group, columns of equal length; `t` is seconds since the load began."""
    return {
        "latency": _latency_series(run),
        "queue": _columns(run.queue.series, run.start),
        "memory": _columns(run.memory.series, run.start),
        "cpu": _columns(run.cpu.series, run.start),
    }


def _columns(series: Series, start: float) -> dict[str, Sequence[float | None]]:
    times = {"t": [round(when - start, 3) for when in series.times]}
    return {**times, **{name: [_shown(value) for value in values] for name, values in series.values.items()}}


def _shown(value: float) -> float | None:
    return None if math.isnan(value) else value


def _latency_series(run: Run) -> dict[str, list[float | None]]:
    recorder, width = run.recorder, run.recorder.slice_seconds
    columns: dict[str, list[float | None]] = {name: [] for name in ("t", "p50", "p95", "p99", "answered", "failed")}
    for number in range(min(recorder.slices, default=0), max(recorder.slices, default=-1) + 1):
        here = recorder.slices.get(number, Slice())
        middle = max(0.0, (number + 0.5) * width - run.start)
        row = [round(middle, 3), *percentiles(here), here.answered / width, here.failed / width]
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return columns


def percentiles(here: Slice) -> list[float | None]:
    """Of its latencies, in the order of PERCENTILES; None where it has none."""
    ordered = sorted(here.latencies)
    return [ordered[math.ceil(len(ordered) * at / 100) - 1] if ordered else None for at in PERCENTILES]
