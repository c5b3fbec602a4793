"""What the probes look at: the queue, and the processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import psutil

from pipeline.store.database import UNAVAILABLE, Database
from stress.probe import Look
from stress.usage import cpu_seconds, megabytes

#: Processes that make up a part of the system, as they are just now; None where they cannot be seen from here.
Roots = Callable[[], Sequence[psutil.Process] | None]

#: The pipeline's whole depth, whoever asked. Served by the index of what is unfinished.
UNFINISHED = """
    SELECT count(*) FILTER (WHERE status <> 'running'), count(*) FILTER (WHERE status = 'running'),
        count(*) FILTER (WHERE status = 'retrying')
    FROM requests WHERE finished_at IS NULL
"""


def depth(database: Database) -> Look:
    """Requests that wait (those between two attempts included), that run, and that are between two attempts.

    Nothing while Postgres is away.
    """
    try:
        with database.connection() as connection:
            row = connection.execute(UNFINISHED).fetchone()
    except UNAVAILABLE:
        return {"waiting": None, "running": None, "retrying": None}
    assert row is not None
    return dict(zip(("waiting", "running", "retrying"), map(float, row), strict=True))


class Memory:
    """Looks at the workers' summed proportional set size, in bytes; not measured where none can be seen.

    `replaced`: whether some look found other workers than the first. What a worker held goes with it, and so the
    sum then says nothing of how memory grew.
    """

    def __init__(self, workers: Roots) -> None:
        self.replaced = False
        self._workers = workers
        self._first: frozenset[psutil.Process] | None = None

    def __call__(self) -> Look:
        return {"memory": _of(self._noted, lambda roots: megabytes(roots) * 1e6)}

    def _noted(self) -> Sequence[psutil.Process] | None:
        found = self._workers()
        if found is not None:
            self._first = frozenset(found) if self._first is None else self._first
            self.replaced |= self._first != frozenset(found)
        return found


def cpu(parts: Mapping[str, Roots]) -> Look:
    """CPU seconds that each part has used so far."""
    return {part: _of(roots, cpu_seconds) for part, roots in parts.items()}


def _of(roots: Roots, measure: Callable[[Sequence[psutil.Process]], float]) -> float | None:
    try:
        found = roots()
        return measure(found) if found else None
    except psutil.Error:
        return None  # one of them ended just now
