"""What is seen while a run goes on: progress, rates, depth. A line now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from stress.plan import Closed, Plan
from stress.run import Run

#: Seconds between two lines where there is no terminal.
LINE_EVERY = 10.0


class Screen:
    """Shows a run. The one for where nobody looks says nothing."""

    def say(self, line: str) -> None:
        """Something happened."""

    def show(self, run: Run) -> None:
        """How far it is. Called often."""


class Lines(Screen):
    """A line for each thing that happens, and for the state every now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._last = time.monotonic()

    def say(self, line: str) -> None:
        elapsed = time.monotonic() - self._began
        self._console.print(f"{elapsed:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    def show(self, run: Run) -> None:
        if time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            self.say(", ".join(f"{name} {value}" for name, value in state(run).items()))


class Board(Screen):
    """A table that changes in place, with a bar where the end is known."""

    def __init__(self, console: Console, live: Live) -> None:
        self._lines = Lines(console)
        self._live = live

    def say(self, line: str) -> None:
        self._lines.say(line)

    def show(self, run: Run) -> None:
        table = Table.grid(padding=(0, 2))
        done = share_done(run)
        if done is not None:
            table.add_row(f"{done:.0%}", ProgressBar(total=1, completed=done, width=40))
        for name, value in state(run).items():
            table.add_row(name, value)
        self._live.update(table)


def state(run: Run) -> dict[str, str]:
    """What is worth watching, by name."""
    recorder, queue, memory = run.recorder, run.queue.last, run.memory.last
    per_second = recorder.total / run.elapsed if run.elapsed > 0 else 0.0
    shown = {
        "elapsed": f"{max(0.0, run.elapsed):.0f} s",
        "answered": f"{recorder.succeeded}",
        "failed": f"{recorder.total - recorder.succeeded}",
        "rate": f"{per_second:.0f}/s",
        "waiting": _figure(queue.get("waiting")),
        "running": _figure(queue.get("running")),
    }
    size = memory.get("memory")
    return {**shown, "memory": "not measured" if size is None else f"{size / 1e6:.0f} MB"}


def share_done(run: Run) -> float | None:
    """Between 0 and 1; None where neither a number nor a time is set."""
    load = run.plan.load
    if load.total:
        return min(1.0, run.recorder.total / load.total)
    if isinstance(load, Closed) and load.duration:
        return min(1.0, max(0.0, run.elapsed / load.duration))
    return None


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f}"


@contextmanager
def screen_for(plan: Plan, *, quiet: bool) -> Iterator[Screen]:
    """The right one for where the output goes: on standard error, so that the report stays alone."""
    console = Console(stderr=True)
    if quiet:
        yield Screen()
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield Board(console, live)
    else:
        lines = Lines(console)
        lines.say(f"{plan.name}: {plan.load}")
        yield lines
