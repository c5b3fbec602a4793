"""A thread that does one thing every so often."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from pipeline import signals

log = structlog.get_logger(__name__)


class Every:
    """Calls `verb`, which handles the faults that can be foreseen, `seconds` after it has last returned."""

    def __init__(self, seconds: float, verb: Callable[[], object], *, name: str) -> None:
        self._seconds = seconds
        self._verb = verb
        self._name = name
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Let the present call finish, for `timeout` seconds at most, and make no further one."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._verb()
            except Exception:  # the thread's top: what goes wrong in one call must not be the end of all others
                signals.thread_failed(self._name)
                log.exception("call_failed", thread=self._name)
