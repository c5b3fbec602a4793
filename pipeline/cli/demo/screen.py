"""The demo's screen: notes with the time, and an answer's text as it comes. Colours and spinners on terminals alone."""

from __future__ import annotations

import re
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
from rich.status import Status

from pipeline.cli.output import PLAIN_WIDTH, console, printable, table

#: Columns before what is said, for the time or for who says it.
INDENT = 10


class Screen:
    """Any thread may use it. It never writes beyond 80 columns."""

    def __init__(self) -> None:
        self._out = console()
        self._width = min(self._out.width, PLAIN_WIDTH)
        self._began: float = psutil.Process().create_time()
        self._lock = threading.RLock()
        self._column = 0  # of the text being streamed; 0 between lines
        self._status: Status | None = None
        self._reporting = False

    @property
    def elapsed(self) -> float:
        """Seconds since the command was started."""
        return time.time() - self._began

    def title(self, text: str) -> None:
        self._line(text, style="bold")

    def text(self, text: str) -> None:
        """What is good to know."""
        self._wrapped("", text)

    def chapter(self, text: str) -> None:
        """What follows next."""
        with self._lock:
            self._end_line()
            self._out.print()
            self._wrapped("", text, style="bold")

    def note(self, text: str, *, style: str = "cyan") -> None:
        """Something happened, now."""
        with self._lock:
            self._wrapped(f"{self.elapsed:6.1f} s", text, style=style)

    def alarm(self, text: str) -> None:
        """Something bad happened."""
        self.note(text, style="bold red")

    def command(self, text: str) -> None:
        """A line to be copied: in one piece, however long."""
        with self._lock:
            self._line(f"  {text}")

    def mark(self, verdict: str, text: str, *, style: str) -> None:
        """What was found."""
        with self._lock:
            self._wrapped(f"{verdict:>{INDENT - 2}}", text, style=style)

    def say(self, who: str, text: str) -> None:
        """A whole message of the conversation."""
        with self._lock:
            self._wrapped(f"{who:>{INDENT - 2}}", text)

    def stream(self, who: str, text: str) -> None:
        """Some more of a message that is being made."""
        with self._lock:
            self.settle()
            if not self._column:
                self._put(f"{who:>{INDENT - 2}}  ")
            for part in re.findall(r"\S+|\s", printable(text)):
                if self._column + len(part) > self._width:
                    self._end_line()
                    self._put(" " * INDENT)
                self._put(" " if part.isspace() else part)

    def void(self, text: str) -> None:
        """What was streamed before is not the answer, and begins again."""
        self.note(text, style="bold yellow")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        with self._lock:
            self._end_line()
            self._out.print(table(columns, rows), width=self._width)

    def report(self, line: str) -> None:
        """A line from the stack: told once the story has begun, without where its logs are."""
        if self._reporting:
            self.note(line.partition(" (log:")[0])

    def begin_reports(self) -> None:
        self._reporting = True

    def quiet(self) -> None:
        """No more reports; whatever was being written is ended."""
        with self._lock:
            self._reporting = False
            self.settle()
            self._end_line()

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Tell what is being waited for, while the block runs."""
        self.wait(text)
        try:
            yield
        finally:
            self.settle()

    def wait(self, text: str) -> None:
        """Tell what is being waited for: moving on a terminal until `settle()`, one line elsewhere."""
        self.note(text)
        if self._out.is_terminal:
            with self._lock:
                self._status = self._out.status("")
                self._status.start()

    def settle(self) -> None:
        """The wait is over."""
        with self._lock:
            if self._status is not None:
                self._status.stop()
                self._status = None

    def _line(self, text: str, *, style: str | None = None) -> None:
        self._end_line()
        self._out.print(text, style=style, markup=False, soft_wrap=True)

    def _wrapped(self, margin: str, text: str, *, style: str | None = None) -> None:
        """The text in lines that fit, behind a margin where there is one."""
        room = f"{margin:<{INDENT}}" if margin else ""
        fitting = self._width - len(room)
        lines = [
            line
            for given in printable(text).splitlines()
            for line in textwrap.wrap(given, fitting, break_on_hyphens=False)
        ]
        for number, line in enumerate(lines or [""]):
            self._line(f"{room if number == 0 else ' ' * len(room)}{line}", style=style)

    def _put(self, text: str) -> None:
        self._out.print(text, end="", markup=False, soft_wrap=True)
        self._column += len(text)

    def _end_line(self) -> None:
        if self._column:
            self._out.print()
            self._column = 0
