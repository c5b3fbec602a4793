"""Where calls wait, in place, for one of a provider's slots: a few, and for a moment. The rest wait in the ledger."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.providers.contract import CallControl
from pipeline.providers.routing import Candidate
from pipeline.providers.turns import latency_of

#: Seconds that a call waits here at most.
MOMENT = 1.0

#: Seconds between two looks at whether another process has left a slot, or the call was interrupted.
SLICE = 0.1


class Room:
    """Of one process, with `seats` for all providers together. Safe to use from any thread."""

    def __init__(self, seats: int) -> None:
        self._seats = max(1, seats)
        self._changed = threading.Condition()
        self._seated: Counter[int] = Counter()
        #: Slots that were given back and that nobody who waits has asked for yet.
        self._free: Counter[int] = Counter()

    @contextmanager
    def seat(self, candidate: Candidate) -> Iterator[bool]:
        """Have a seat, if one is left; for one provider there are as many as a moment leaves slots free."""
        place = candidate.place
        slots = candidate.settings.max_concurrency or 1
        served = max(1, int(slots * MOMENT / latency_of(candidate)))
        with self._changed:
            seated = self._seated.total() < self._seats and self._seated[place] < served
            self._seated[place] += seated
        try:
            yield seated
        finally:
            with self._changed:
                self._seated[place] -= seated
                self._free[place] = min(self._free[place], self._seated[place])

    def wait(self, candidate: Candidate, control: CallControl, until: float) -> bool:
        """Until it is worth asking again; False where the moment, in seconds of `time.monotonic`, is over.
        Raises AttemptInterrupted."""
        place = candidate.place
        control.check()
        left = until - time.monotonic()
        if left <= 0:
            return False
        with self._changed:
            if self._changed.wait_for(lambda: self._free[place] > 0, min(left, SLICE)):
                self._free[place] -= 1
        return True

    def left(self, place: int) -> None:
        """A call of this process is over: its slot is free, and the next who asks may have it."""
        with self._changed:
            if self._free[place] < self._seated[place]:
                self._free[place] += 1
                self._changed.notify_all()
