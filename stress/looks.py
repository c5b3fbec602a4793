"""What the probes look at: the queue, and the processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

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


class Spent:
    """Looks at the processor time, in seconds, that each part has used since it was first seen.

    It is added up for each of a part's processes, with all below it, by itself: the time of one that ends goes with it,
    and that of its replacement begins at 0. What a process used after the last look that found it is not known.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[psutil.Process, float]] = {}
        self._spent: dict[str, float] = {}

    def look(self, parts: Mapping[str, Roots]) -> Look:
        return {part: _of(roots, partial(self._add, part)) for part, roots in parts.items()}

    def _add(self, part: str, roots: Sequence[psutil.Process]) -> float:
        now = {root: cpu_seconds([root]) for root in roots}
        first = part not in self._known
        known = self._known.setdefault(part, {})
        for root, seconds in now.items():
            # less than before: something below it ended whose time nobody took over
            more = seconds if root not in known else max(0.0, seconds - known[root])
            self._spent[part] = self._spent.get(part, 0.0) + (0.0 if first else more)
        known.update(now)
        return self._spent[part]


def _of(roots: Roots, measure: Callable[[Sequence[psutil.Process]], float]) -> float | None:
    try:
        found = roots()
        return measure(found) if found else None
    except psutil.Error:
        return None  # one of them ended just now
