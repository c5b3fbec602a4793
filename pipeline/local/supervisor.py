"""Start again what dies, after a while that grows with each time, and say so."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from pipeline import signals
from pipeline.local.errors import LocalStackError
from pipeline.local.program import Program

log = structlog.get_logger(__name__)

#: Seconds between two looks at the programs.
INTERVAL = 0.2
#: Seconds before a program that died is started again: at first, and at most. Each time doubles it.
FIRST_DELAY, MAX_DELAY = 0.5, 30.0
#: Seconds of life after which a program's earlier deaths are forgotten.
STEADY = 60.0


@dataclass
class Watched:
    """A program and how often it died. Times are of the monotonic clock; `due` is None while it runs."""

    program: Program
    deaths: int = 0
    due: float | None = None
    started: float = field(default_factory=time.monotonic)
    said_ready: bool = True

    def next_delay(self, now: float) -> float:
        if now - self.started > STEADY:
            self.deaths = 0
        delay = min(FIRST_DELAY * 2.0**self.deaths, MAX_DELAY)
        self.deaths += 1
        return delay


class Supervisor:
    """Watches running programs from a thread of its own. `report` is given a line for each thing that happens."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._watched: list[Watched] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def watch(self, programs: list[Program]) -> None:
        """Watch these, too, from now on."""
        self._watched = [*self._watched, *(Watched(program) for program in programs)]
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Watch no more; nothing is started again once this returns."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(INTERVAL):
            for watched in self._watched:
                try:
                    self._look_at(watched, time.monotonic())
                except Exception:  # the thread's top: what goes wrong with one must not leave all others unwatched
                    signals.thread_failed("supervisor")
                    log.exception("program_not_watched", program=watched.program.name)

    def _look_at(self, watched: Watched, now: float) -> None:
        if watched.program.alive:
            self._greet(watched)
        elif watched.due is None:
            self._put_off(watched, now, how_it_ended(watched.program.exit_code))
        elif now >= watched.due:
            self._start_again(watched, now)

    def _greet(self, watched: Watched) -> None:
        if not watched.said_ready and watched.program.is_ready():
            watched.said_ready = True
            self._report(f"{watched.program.name} is back (process {watched.program.pid})")

    def _put_off(self, watched: Watched, now: float, why: str) -> None:
        delay = watched.next_delay(now)
        watched.due = now + delay
        self._report(f"{watched.program.name} {why}; starting it again in {delay:g} s (log: {watched.program.log})")

    def _start_again(self, watched: Watched, now: float) -> None:
        watched.due = None
        watched.started = now
        watched.said_ready = False
        try:
            watched.program.launch()
        except (LocalStackError, OSError) as fault:
            self._put_off(watched, now, f"could not be started ({fault})")


def how_it_ended(code: int | None) -> str:
    """In words: by which signal, or with which status."""
    if code is None or code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
