"""The fleet's gate: a round trip for each call that wants in, and none for those that are over."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import structlog

from pipeline import broker, signals
from pipeline.combine import Combiner
from pipeline.providers.breaker_state import ANY
from pipeline.providers.gate.machine import Ask, Reply, Result, Settlement

log = structlog.get_logger(__name__)

#: Seconds that news of a call wait for the next ask to go along with: none for a failure, which may open a breaker; few
#: for what others wait for, a slot or a trial that went well; and more for a success like all others.
AT_ONCE, SOON, LATER = 0.0, 0.02, 1.0

#: Seconds between two tries to give back what a broker that was away may hold for calls that it was asked for; and most
#: of those that are remembered: the others' slots end by themselves.
OWED_EVERY, OWED = 1.0, 2000

#: Calls that wait together go together, at most so many: the script is done whole, and others wait for it.
MOST = 50


class SharedGate:
    """Asks and settlements of one process, in the order in which they came.

    Settlements go along with the next ask, and before it: no call of this process starts on what was known before
    the last failure. Where no ask comes, a thread brings them.
    """

    def __init__(
        self, run: Callable[[Sequence[Ask], Sequence[Settlement]], Result], lost: Callable[[int, Exception], None]
    ) -> None:
        self._run = run
        self._lost = lost
        self._changed = threading.Condition()
        self._waiting: list[Settlement] = []
        #: Of asks that were never answered, and of settlements that may not have come through: a broker that only stood
        #: still does them when it goes on, and nobody else would give back what they took.
        self._owed: deque[Settlement] = deque(maxlen=OWED)
        self._due = math.inf
        #: Until when the thread sleeps. It is woken only where that is too late: most asks take along what there is.
        self._sleeps = math.inf
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._together: Combiner[Ask | None, Reply | None] = Combiner(self._work, most=MOST)

    def ask(self, ask: Ask) -> Reply:
        """Raises one of broker.FAULTS."""
        reply = self._together(ask)
        assert reply is not None  # noqa: S101 - an ask is replied to
        return reply

    def settle(self, settlement: Settlement, wait: float) -> None:
        """Tell how a call went, `wait` seconds from now at the latest. What the broker cannot be told is lost, but for
        the slot that is given back when it can."""
        with self._changed:
            self._waiting.append(settlement)
            self._have_brought(wait)

    def stop(self, timeout: float = 2.0) -> None:
        """Tell what waits, and no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self, batch: Sequence[Ask | None]) -> list[Reply | None]:
        with self._changed:
            settlements, self._waiting, self._due = self._waiting, [], math.inf
        asks = [one for one in batch if one is not None]
        if not asks and not settlements and not self._owed:
            return [None for _ in batch]
        try:
            replies = iter(self._run(asks, [*self._owed, *settlements]).replies)
        except broker.FAULTS as fault:
            with self._changed:
                self._owed.extend(_given_back(asks, settlements))
                self._have_brought(OWED_EVERY)
            self._lost(len(settlements), fault)
            raise
        self._owed.clear()  # one batch at a time: nothing has come to it meanwhile
        return [None if one is None else next(replies) for one in batch]

    def _have_brought(self, wait: float) -> None:
        """Have the thread bring what there is, in so many seconds at the latest. The lock is held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._bring, name="gate", daemon=True)
            self._thread.start()
        self._due = min(self._due, time.monotonic() + wait)
        if self._due < self._sleeps:
            self._changed.notify()

    def _bring(self) -> None:
        while self._wait():
            try:
                self._together(None)
            except broker.FAULTS:  # told by whoever led the batch
                continue
            except Exception:  # the thread's top: what a broker says strangely once must not end all news of calls
                signals.thread_failed("gate")
                log.exception("settlements_not_told")

    def _wait(self) -> bool:
        """Until something is to be brought. Returns whether there is."""
        with self._changed:
            while not self._stopping and (left := self._due - time.monotonic()) > 0:
                self._sleeps = self._due
                self._changed.wait(None if left == math.inf else left)
            self._sleeps = -math.inf
            return bool(self._waiting) or not self._stopping


def _given_back(asks: Sequence[Ask], settlements: Sequence[Settlement]) -> Iterator[Settlement]:
    """What gives back the slots of all of these, and counts nothing, whether they were done before or not."""
    for one in settlements:
        yield replace(one, failure=None, void=True, more=0, closed_for=None)
    for ask in asks:
        for offer in ask.offers:
            yield Settlement(offer.provider, ask.ticket, ANY, None, void=True, second=0, more=0, closed_for=None)
