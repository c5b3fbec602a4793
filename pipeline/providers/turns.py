"""Who is put off comes back about as fast as they can be served: all at once, most would be put off again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pipeline.providers.limits import MINUTE
from pipeline.providers.routing import Candidate

#: Seconds between two that wait for a breaker, or for the end of a Retry-After.
BREATH = 0.02

#: Where chance spreads who is put off: in a line, they would all come after whoever drew the longest wait.
SPREAD = "breaker_ramp"

#: Seconds by which others may put somebody off at most.
LONGEST = 30.0

#: Seconds that a call takes where none has been seen yet.
GUESS = 0.5

#: Who waits for slots comes back faster than they are given back, by this factor: a few come in vain and wait once
#: more, but none of the slots stays empty for long.
EARLY = 0.75


def latency_of(candidate: Candidate) -> float:
    """Seconds that a call takes there, as far as is known."""
    return max(candidate.latency or GUESS, 0.01)


class Turns:
    """Of one process. Safe to use from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: Each reason has a line of its own: who waits for a slot is not kept by those who wait for a Retry-After.
        self._last: dict[tuple[int, str], float] = {}

    def next(self, candidate: Candidate, why: str, wait: float) -> float:
        """Seconds after which this one is to come back, to a provider that may take a call in `wait` seconds."""
        if why == SPREAD:
            return wait
        now = self._clock()
        line = candidate.place, why
        if why == "concurrency":  # the gate does not know how long calls take
            wait = min(wait, latency_of(candidate))
        with self._lock:
            after = self._last.get(line, 0.0) + _apart(candidate, why)
            due = min(max(now + wait, after), now + wait + LONGEST)
            self._last[line] = due
        return due - now


def _apart(candidate: Candidate, why: str) -> float:
    """Seconds from one call that a provider can take to the next."""
    facts = candidate.settings
    if why == "concurrency" and facts.max_concurrency:
        return EARLY * latency_of(candidate) / facts.max_concurrency
    if why == "requests_per_minute" and facts.requests_per_minute:
        return MINUTE / facts.requests_per_minute
    if why == "tokens_per_minute" and facts.tokens_per_minute:
        return MINUTE * sum(candidate.tokens) / facts.tokens_per_minute
    return BREATH
