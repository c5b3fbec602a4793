"""A thread that does one thing every so often."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Every:
    """Calls `verb`, which handles its own faults, `seconds` after it has last returned."""

    def __init__(self, seconds: float, verb: Callable[[], object], *, name: str) -> None:
        self._seconds = seconds
        self._verb = verb
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
            self._verb()
