"""Upkeep: erasures that nobody finished, and what has been kept long enough. Two at once do no harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import structlog

from pipeline import signals
from pipeline.erasure import Eraser
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from pipeline.store import retention, spending
from pipeline.store.database import Database

log = structlog.get_logger(__name__)

#: Seconds in a day.
DAY = 86_400.0

#: Seconds between two batches, in which others get at Postgres.
PAUSE = 0.05

#: Does something, and says to how many.
Verb = Callable[[], int]


@dataclass(frozen=True)
class Upkeep:
    """Looks when told to."""

    database: Database
    eraser: Eraser
    settings: Settings

    def run(self) -> None:
        """One look: until nothing is left to go, or the next look is due. What fails keeps nothing else from going."""
        until = time.monotonic() + self.settings.upkeep_interval
        self._step("erasures", self.eraser.resume)
        self._retire(until)
        self._tell("objects", self._step("objects", lambda: self.eraser.remove_objects(None)))
        self._tell("spending", self._step("spending", lambda: spending.forget(self.database)))

    def _retire(self, until: float) -> None:
        """A batch of each kind in turn, so that a backlog of the one does not keep the other waiting."""
        left = self._kinds()
        totals = dict.fromkeys(left, 0)
        while left:
            for what, verb in list(left.items()):
                count = self._step(what, verb)
                totals[what] += count
                if count < retention.BATCH:
                    del left[what]
            if time.monotonic() >= until:
                break
            if left:
                time.sleep(PAUSE)
        for what, total in totals.items():
            self._tell(what, total)

    def _kinds(self) -> dict[str, Verb]:
        age, of_archives = self.settings.retention_days * DAY, self.settings.archive_retention_days
        kinds: dict[str, Verb] = {"requests": lambda: retention.forget_requests(self.database, age=age)}
        if of_archives is not None:
            kinds["archives"] = lambda: retention.expire_archives(self.database, age=of_archives * DAY)
        return kinds

    def _step(self, what: str, verb: Verb) -> int:
        """What it says; 0 where Postgres does not do it."""
        try:
            return verb()
        except (psycopg.Error, ConfigurationError) as fault:  # the latter of a database of another version
            signals.ledger_failed(f"upkeep_{what}")
            log.warning("upkeep_failed", what=what, error=type(fault).__name__)
            return 0

    def _tell(self, what: str, count: int) -> None:
        if count:
            signals.retired(what, count)
            log.info("retired", what=what, count=count)
