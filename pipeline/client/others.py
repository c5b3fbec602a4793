"""Outcomes of what other processes submitted: heard of for as long as somebody here waits for one."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from uuid import UUID

import structlog

from pipeline import signals
from pipeline.notices import Listener, outcomes_channel

log = structlog.get_logger(__name__)

#: Seconds that the broker is given to confirm a subscription, after which what may have been missed is looked up.
CONFIRMED = 0.5


class Others:
    """None of its verbs waits for the broker, which may be frozen: an event loop calls them, too.

    `look(request_id)` looks an outcome up, should somebody still wait for it.
    """

    def __init__(self, notices: Listener, look: Callable[[UUID], None]) -> None:
        self._notices = notices
        self._look = look
        self._lock = threading.Lock()
        self._waiters: Counter[str] = Counter()

    def follow(self, origin: str, request_id: UUID, threads: Executor) -> None:
        """One more waits for a request of that process, until `leave`. One of `threads` sees to it that it is heard
        of soon."""
        channel = outcomes_channel(origin)
        with self._lock:
            self._waiters[origin] += 1
            self._notices.want(channel)
        if self._notices.lacks(channel):
            with contextlib.suppress(RuntimeError):  # the client was closed meanwhile, and its waiters know
                threads.submit(self._hurry, channel, request_id)

    def leave(self, origin: str) -> None:
        """One fewer waits."""
        with self._lock:
            self._waiters[origin] -= 1
            if self._waiters[origin] <= 0:
                del self._waiters[origin]
                self._notices.unsubscribe(outcomes_channel(origin))

    def _hurry(self, channel: str, request_id: UUID) -> None:
        """Look again once the channel is heard: the first look was before that."""
        try:
            if self._notices.hurry(channel, CONFIRMED):
                self._look(request_id)
        except Exception:  # the thread's top: nobody waits for what comes of this; the listener gets there by itself
            signals.thread_failed("others")
            log.exception("others_not_hurried")
