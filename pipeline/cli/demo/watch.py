"""A request as the ledger sees it, told while it happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from pipeline.cli.demo.screen import Screen
from pipeline.errors import LedgerUnavailable
from pipeline.schemas import Status
from pipeline.store import queries
from pipeline.store.database import Database
from pipeline.store.queries import AttemptFacts, RequestFacts
from pipeline.worker.every import Every

#: Seconds between two looks.
INTERVAL = 0.1


@contextmanager
def watching(database: Database, id_: UUID, screen: Screen) -> Iterator[None]:
    """While the block runs, tell of each attempt at a request that ends badly, and of each further one that begins."""
    looking = Every(INTERVAL, Watch(database, id_, screen).look, name="demo-watch")
    looking.start()
    try:
        yield
    finally:
        looking.stop()


class Watch:
    """What was told already of a request's attempts."""

    def __init__(self, database: Database, id_: UUID, screen: Screen) -> None:
        self._database = database
        self._id = id_
        self._screen = screen
        self._ended = 0
        self._begun = 1

    def look(self) -> None:
        """Tell what is new."""
        try:
            self._look()
        except LedgerUnavailable:
            return  # whoever waits for the answer meets it too, and says so

    def _look(self) -> None:
        for attempt in queries.attempts(self._database, self._id)[self._ended :]:
            self._ended = attempt.number
            if attempt.outcome == "retried":
                self._screen.alarm(how_it_ended(attempt))
        facts = queries.request(self._database, self._id)
        if facts.status == Status.running and facts.attempts > self._begun:
            self._begun = facts.attempts
            self._screen.note(f"Attempt {facts.attempts} begins, on {who(facts)}")


def how_it_ended(attempt: AttemptFacts) -> str:
    """A failed attempt in words."""
    if attempt.reason == "worker_lost":
        return f"Attempt {attempt.number} counts as lost with its worker; the next begins at once"
    return f"Attempt {attempt.number} failed with {attempt.reason}; the next begins in {attempt.delay:g} s"


def who(request: RequestFacts) -> str:
    """The worker that claimed it last."""
    return f"{short(request.worker)} (process {request.worker_pid})"


def short(worker: str | None) -> str:
    """A worker's name without its host."""
    return (worker or "a worker").partition("@")[0]
