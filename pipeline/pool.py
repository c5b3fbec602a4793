"""Celery's thread pool, which knows how many more tasks it could start."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from threading import Lock
from typing import Any

from celery.concurrency import thread

from pipeline import signals

logger = logging.getLogger(__name__)


def _wake() -> None:
    """Nothing to do: being called is what wakes the event loop."""


class TaskPool(thread.TaskPool):  # type: ignore[misc]  # celery ships no types
    """Threads, of which each handed-over and unfinished task takes one, and a task that waits for its time none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = Lock()
        self._unfinished = 0
        self._starved = False
        self._hub: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        self._hub = hub

    def free_slots(self) -> int:
        """How many tasks could start at once. Whoever is told none has the event loop woken when there is one."""
        with self._lock:
            free: int = self.limit - self._unfinished
            self._starved = free <= 0
        return free

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self._unfinished += 1
        try:
            applied = super().on_apply(*args, **kwargs)
        except RuntimeError:  # the executor was shut down
            self._release()
            raise
        applied.f.add_done_callback(self._finished)
        return applied

    def _finished(self, future: Future[Any]) -> None:
        self._release()
        if not future.cancelled() and (error := future.exception()) is not None:
            # A task's own errors never get here; without this line nobody would hear of it.
            signals.thread_failed("pool")
            logger.error("running a task broke in Celery itself: %s", type(error).__name__)

    def _release(self) -> None:
        with self._lock:
            self._unfinished -= 1
            wake, self._starved = self._starved, False
        if wake and self._hub is not None:
            self._hub.call_soon(_wake)
