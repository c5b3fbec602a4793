"""What this worker is running, and how to make it stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from pipeline.errors import AttemptInterrupted

#: Why an attempt is interrupted that has reached its limit.
RUN_LIMIT = "run limit"

#: Why one is interrupted whose session has a newer message: what it has said so far is kept.
INTERRUPTED = "interrupted"

#: Seconds for which an order is remembered whose attempt is not held, or not yet: its claim is committed before.
EARLY = 2.0


class Control:
    """The reins of one attempt: any thread may interrupt it, its own thread looks.

    `limit` is the moment, in seconds of `time.monotonic`, at which the attempt is over by itself.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._stop = threading.Event()
        self._why: str | None = None

    def interrupt(self, why: str) -> None:
        """Make the attempt stop. The first reason stays."""
        if self._why is None:
            self._why = why
        self._stop.set()

    @property
    def interrupted(self) -> str | None:
        """Why the attempt must stop, or None."""
        return self._why

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.limit - time.monotonic())

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up to stop. Raises AttemptInterrupted."""
        self._stop.wait(min(seconds, self.seconds_left))
        self.check_limit()

    def check_limit(self) -> None:
        """`check`, and at the limit the same: for what must not begin any more. What is under way ends by its own."""
        if time.monotonic() >= self.limit:
            self.interrupt(RUN_LIMIT)  # the heart would, a moment later
        self.check()

    def check(self) -> None:
        """Raises AttemptInterrupted if the attempt must stop."""
        if self._why is not None:
            raise AttemptInterrupted(self._why)


class Held:
    """The attempts at work in this process. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[UUID, tuple[int, Control]] = {}
        self._changed = threading.Condition(self._lock)
        #: Why attempts were to stop that were not held, and when that was said.
        self._early: dict[UUID, tuple[str, float]] = {}

    @contextmanager
    def hold(self, request_id: UUID, fence: int, control: Control) -> Iterator[None]:
        """Be known as running this request."""
        with self._changed:
            other = self._held.get(request_id)
            if other is None or other[0] < fence:
                self._held[request_id] = (fence, control)
                self._changed.notify_all()
            why, said_at = self._early.pop(request_id, ("", float("-inf")))
        if other is not None:  # the older claim of the two was forgotten in a crash of Postgres, or taken away
            (other[1] if other[0] < fence else control).interrupt("claim lost")
        if time.monotonic() - said_at < EARLY:
            control.interrupt(why)
        try:
            yield
        finally:
            with self._changed:
                if self._held.get(request_id, (None, None))[1] is control:
                    del self._held[request_id]
                self._changed.notify_all()

    def fences(self) -> dict[UUID, int]:
        """What is held, with the fence that it was claimed with."""
        with self._lock:
            return {request_id: fence for request_id, (fence, _) in self._held.items()}

    def interrupt(self, request_id: UUID, why: str, *, fence: int | None = None) -> None:
        """Make one attempt stop, if it is held (and, where one is given, under that fence), or will be in a moment."""
        with self._lock:
            held = self._held.get(request_id)
            if held is None and fence is None:
                self._remember(request_id, why)
        if held is not None and fence in (None, held[0]):
            held[1].interrupt(why)

    def _remember(self, request_id: UUID, why: str) -> None:
        now = time.monotonic()
        self._early = {id_: said for id_, said in self._early.items() if now - said[1] < EARLY}
        self._early[request_id] = (why, now)

    def interrupt_all(self, why: str) -> None:
        """Make every attempt stop."""
        for request_id in self.fences():
            self.interrupt(request_id, why)

    def interrupt_overdue(self) -> float:
        """Make those stop whose limit has come. Returns the seconds until the next one's, at most a minute."""
        now = time.monotonic()
        with self._lock:
            controls = [control for _, control in self._held.values()]
        for control in controls:
            if control.limit <= now:
                control.interrupt(RUN_LIMIT)
        return min((control.limit - now for control in controls if control.limit > now), default=60.0)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until nothing is held. Returns whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, timeout)
