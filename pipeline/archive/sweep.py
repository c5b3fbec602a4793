"""The sweep: finds the sessions that are due, and hands them out. Two at once do no harm: a session is taken once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from pipeline.store import archives
from pipeline.store.archives import Rules
from pipeline.store.database import Database

log = structlog.get_logger(__name__)

#: Sessions that one look hands out, of each kind that is due; what is left waits for the next look.
MOST = 10_000

#: Sessions in one message to the workers.
HANDFUL = 100

#: Messages in the queue with which the workers have enough to do: more would only say the same again.
ENOUGH = 50


@dataclass(frozen=True)
class Sweep:
    """Looks for due sessions when told to. `waiting` is how many messages the queue holds."""

    database: Database
    rules: Rules
    hand_out: Callable[[Sequence[Sequence[int]]], None]
    waiting: Callable[[], int]

    def run(self) -> int:
        """One look. Returns how many sessions were handed out. Raises what `database.UNAVAILABLE` lists."""
        if self.waiting() >= ENOUGH:
            return 0
        due = archives.due(self.database, self.rules, most=MOST)
        self.hand_out([due[start : start + HANDFUL] for start in range(0, len(due), HANDFUL)])
        if due:
            log.info("sweep", sessions=len(due))
        return len(due)
