"""A program of the stack: how it is started, known to be ready, stopped, and hurt."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable

from pipeline.local import process
from pipeline.local.errors import NotReady, StackInterrupted
from pipeline.local.process import Launch

#: Seconds until a program must be ready.
START_TIMEOUT = 60.0


class Program:
    """One process, which can be started again after it ended. Without `ready`, it is as soon as it runs."""

    stop_signal = signal.SIGTERM

    def __init__(self, name: str, launch: Launch, *, ready: Callable[[Program], bool] | None = None) -> None:
        self.name = name
        self.log = launch.log
        self._launch = launch
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self.log_start = 0

    @property
    def pid(self) -> int | None:
        """The id of the process, also after it ended; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process, and do not wait."""
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = process.spawn(self._launch)

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start it and wait until it is ready. Raises NotReady."""
        self.launch()
        self.wait_until_ready(timeout)

    def is_ready(self) -> bool:
        """Whether it does its work by now."""
        return self.alive and (self._ready is None or self._ready(self))

    def wait_until_ready(self, timeout: float = START_TIMEOUT, *, unless: threading.Event | None = None) -> None:
        """Raises NotReady with the end of its log, or StackInterrupted when `unless` was set meanwhile."""
        if process.wait_until(lambda: not self.alive or self.is_ready(), timeout, unless=unless) and self.alive:
            return
        if unless is not None and unless.is_set():
            raise StackInterrupted
        what = f"was not ready after {timeout:g} s" if self.alive else f"ended with status {self.exit_code}"
        raise NotReady(self.name, what, self.log, self.said())

    def said(self) -> str:
        """The end of what it has logged since it was last started."""
        return process.tail(self.log, self.log_start)

    def ask_to_stop(self) -> None:
        """Send it its stop signal, and do not wait."""
        self._send(self.stop_signal)

    def stop(self, grace: float = 10.0) -> None:
        """Have it stop in order, and kill it when it has not after `grace` seconds."""
        self.ask_to_stop()
        if not self.wait(grace):
            self.kill()

    def wait(self, timeout: float) -> bool:
        """Whether it ended within that many seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it and its children at once, without a chance to tidy up, and wait until they are gone."""
        if self._process is None or not self.alive:
            return
        members = process.family(self._process.pid)
        process.send(members, signal.SIGKILL)
        self._process.wait()
        process.wait_until(lambda: process.all_gone(members), 10)

    def freeze(self) -> None:
        """Stop it and its children in their tracks, connections open."""
        self._send_to_family(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._send_to_family(signal.SIGCONT)

    def _send_to_family(self, what: signal.Signals) -> None:
        if self._process is not None:
            process.send(process.family(self._process.pid), what)

    def _send(self, what: signal.Signals) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(what)
            self.thaw()  # a frozen one would not notice


def has_said(words: str) -> Callable[[Program], bool]:
    """Ready once its log says so."""
    return lambda program: words in process.head(program.log, program.log_start)
