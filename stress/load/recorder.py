"""What came back, as it comes: latencies, counts by second, errors by type, ids."""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.errors import LedgerUnavailable
from stress.integrity import Heard
from stress.latency import Latencies
from stress.load.record import Record


@dataclass(slots=True)
class Slice:
    """What ended within one slice of time. Latencies are those of answers, in seconds."""

    answered: int = 0
    failed: int = 0
    latencies: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Seen:
    """How often something went wrong, and when first and last, by the monotonic clock."""

    count: int
    first: float
    last: float

    def again(self, when: float) -> None:
        self.count += 1
        self.first, self.last = min(self.first, when), max(self.last, when)


class Recorder:
    """Takes records from any thread. `open_model`: a latency begins when the request was due, not when it was sent.

    Answers alone have a latency; what went wrong is counted. Whatever of it passed before `submit()` is a lag, of which
    the `waits` for a thread to submit in are a part.
    """

    def __init__(self, *, open_model: bool, slice_seconds: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._open_model = open_model
        self.slice_seconds = slice_seconds
        self.latencies, self.accepting = Latencies(), Latencies()
        self.lags, self.waits = Latencies(), Latencies()
        self.outcomes: Counter[str] = Counter()
        self.heard: dict[str, Heard] = {}  # by id
        self.repeated: set[str] = set()  # ids that more than one caller was given
        self.slices: dict[int, Slice] = {}
        self.errors: dict[str, Seen] = {}
        #: Callers who were told that Postgres did not answer: their requests may have been accepted all the same.
        self.unsure = 0
        self.first_due = float("inf")
        self.last_end = float("-inf")
        self.users: set[str] = set()

    def hear(self, records: Sequence[Record]) -> None:
        """These have ended."""
        with self._lock:
            for record in records:
                self._add(record)

    def _add(self, record: Record) -> None:
        self.first_due = min(self.first_due, record.due)
        self.last_end = max(self.last_end, record.ended)
        self.outcomes[record.outcome] += 1
        self.unsure += record.outcome == "refused" and record.error == LedgerUnavailable.__name__
        self.users.add(record.user)
        self.lags.record(record.submitted - record.due)
        self.waits.record(record.waited)
        if record.id is not None and record.accepted is not None:
            if record.id in self.heard:
                self.repeated.add(record.id)
            self.heard[record.id] = Heard(record.submitted, record.accepted, record.outcome)
            self.accepting.record(record.accepted - record.submitted)
        here = self.slices.setdefault(int(record.ended / self.slice_seconds), Slice())
        if record.outcome == "succeeded":
            latency = record.ended - (record.due if self._open_model else record.sent)
            here.answered += 1
            here.latencies.append(latency)
            self.latencies.record(latency)
        else:
            here.failed += 1
            self._note(record.error or record.outcome, record.ended)

    def _note(self, error: str, when: float) -> None:
        if error in self.errors:
            self.errors[error].again(when)
        else:
            self.errors[error] = Seen(1, when, when)

    @property
    def total(self) -> int:
        """Requests that ended, either way."""
        return self.outcomes.total()

    @property
    def succeeded(self) -> int:
        return self.outcomes["succeeded"]
