"""A closed loop: each user has one request under way, and sends the next when the answer is there.

Users who begin in the same instant stay in step for a while, because the work takes all of them equally long: each of
their first requests waits behind all the others'. That is what a burst costs. What a request costs by itself is seen
where each user begins at a moment of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

#: Seconds that the work itself takes, on both sides.
WORK_SECONDS = 0.2

#: Seconds after which a missing answer ends the measurement.
PATIENCE = 60.0


class Caller(Protocol):
    """One side's client. It serves many threads."""

    def submit(self, user: str, text: str) -> Callable[[], None]:
        """Hand a request over; the returned function waits for its answer, `PATIENCE` at most."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Load:
    """How many users send how many requests each."""

    users: int
    requests: int
    #: Whether they begin one after the other, evenly within the time that the work takes, and not in one instant.
    apart: bool = False

    @property
    def total(self) -> int:
        return self.users * self.requests

    def __str__(self) -> str:
        return f"{self.users} users x {self.requests}{', apart' if self.apart else ''}"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: of the whole run, and of each request from submit to answer."""

    elapsed: float
    latencies: list[float]


class ClosedLoop:
    """One thread a user; all of them exist before the clock starts."""

    def __init__(self, caller: Caller, run: str, users: int) -> None:
        self._caller = caller
        self._users = [f"{run}-{number}" for number in range(users)]

    def round(self, requests: int, *, apart: bool = False) -> Timing:
        """Every user sends so many requests. Raises what the first failed one raised."""
        start, latencies, errors = threading.Event(), list[float](), list[BaseException]()
        between = WORK_SECONDS / len(self._users) if apart else 0.0

        def serve(number: int, user: str) -> None:
            start.wait()
            time.sleep(number * between)
            try:
                latencies.extend(self._converse(user, requests))
            except BaseException as error:  # noqa: BLE001  # a thread's top: handed to the caller below
                errors.append(error)

        threads = [threading.Thread(target=serve, args=turn, daemon=True) for turn in enumerate(self._users)]
        for thread in threads:
            thread.start()
        began = time.perf_counter()
        start.set()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return Timing(time.perf_counter() - began, latencies)

    def _converse(self, user: str, requests: int) -> list[float]:
        latencies = []
        for number in range(requests):
            began = time.perf_counter()
            self._caller.submit(user, f"question {number}")()
            latencies.append(time.perf_counter() - began)
        return latencies
