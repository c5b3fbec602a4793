"""What the simulator has served."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

#: How many requests are told apart, and how many the log holds.
REMEMBERED = 50_000
LOGGED = 5_000


def digest(text: str) -> str:
    """Stands for a text in counts, so that the text itself is not kept."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts at a moment.

    `outcomes` counts by what was done (`ok`, a fault's kind, or `disconnected` when the caller went away first).
    `requests` counts how often each `X-Client-Request-Id` arrived, `texts` each user text, by `digest`. `log` holds
    the newest (seconds since the epoch, outcome).
    """

    arrived: int
    in_flight: int
    most_in_flight: int
    outcomes: dict[str, int]
    requests: dict[str, int]
    texts: dict[str, int]
    log: list[tuple[float, str]]

    def of_text(self, text: str) -> int:
        """How often this user text arrived."""
        return self.texts.get(digest(text), 0)


class Counts:
    """Counts as they go on. Safe to read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._era = 0
        self.reset()

    def reset(self) -> None:
        """Begin anew: what is in flight is counted no more."""
        with self._lock:
            self._era += 1
            self._arrived = self._in_flight = self._most = 0
            self._outcomes: Counter[str] = Counter()
            self._requests: Counter[str] = Counter()
            self._texts: Counter[str] = Counter()
            self._log: deque[tuple[float, str]] = deque(maxlen=LOGGED)

    def arrive(self, request: str | None, text: str) -> int:
        """Count a call. Returns the era, which it is to leave with."""
        with self._lock:
            self._arrived += 1
            self._in_flight += 1
            self._most = max(self._most, self._in_flight)
            _count(self._texts, digest(text))
            if request is not None:
                _count(self._requests, request)
            return self._era

    def leave(self, outcome: str, era: int) -> None:
        with self._lock:
            if era != self._era:
                return  # a reset has come in between
            self._in_flight -= 1
            self._outcomes[outcome] += 1
            self._log.append((time.time(), outcome))

    def snapshot(self) -> Snapshot:
        with self._lock:
            return Snapshot(
                arrived=self._arrived,
                in_flight=self._in_flight,
                most_in_flight=self._most,
                outcomes=dict(self._outcomes),
                requests=dict(self._requests),
                texts=dict(self._texts),
                log=list(self._log),
            )


def _count(counter: Counter[str], key: str) -> None:
    """Count, forgetting what came first when there is too much."""
    counter[key] += 1
    if len(counter) > REMEMBERED:
        del counter[next(iter(counter))]
