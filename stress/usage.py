"""CPU seconds and memory of process trees."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def cpu_seconds(roots: Iterable[psutil.Process]) -> float:
    """Of these processes and all below them, those that have ended included (their parents have reaped them)."""
    return sum(sum(process.cpu_times()[:4]) for process in _trees(roots))


def megabytes(roots: Iterable[psutil.Process]) -> float:
    """Proportional set size, summed: a page that is shared counts once."""
    return float(sum(process.memory_full_info().pss for process in _trees(roots))) / 1e6


def _trees(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for root in roots for process in (root, *root.children(recursive=True))]
