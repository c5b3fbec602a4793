"""One attempt's text between the agent that writes it and the thread that sends it. Pure; its owner has the lock."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Most characters of one feed, and of all feeds of a process, that wait for the broker.
FEED_LIMIT, TOTAL_LIMIT = 1 << 20, 1 << 24


@dataclass(frozen=True, slots=True)
class Run:
    """Text without a hole, from `offset` on."""

    offset: int
    text: str


@dataclass(slots=True)
class Backlog:
    """What was written and not sent, without a hole: what does not fit is dropped, and so is all until there is room
    and nothing waits."""

    written: int = 0
    _start: int = 0
    _size: int = 0
    _texts: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Characters that wait."""
        return self._size

    def add(self, text: str, room: int) -> bool:
        """Whether the text was kept. Its place in the attempt's text is counted either way."""
        at = self.written
        self.written += len(text)
        follows = not self._texts or self._start + self._size == at
        if not follows or len(text) > min(room, FEED_LIMIT - self._size):
            return False
        if not self._texts:
            self._start = at
        self._texts.append(text)
        self._size += len(text)
        return True

    def take(self) -> Run:
        """All that waits, joined."""
        run = Run(self._start, "".join(self._texts))
        self._texts.clear()
        self._start, self._size = self.written, 0
        return run

    def give_back(self, run: Run) -> bool:
        """Whether a run that could not be sent was taken back: only where that leaves no hole."""
        if run.offset + len(run.text) != (self._start if self._texts else self.written):
            return False
        if not run.text:
            return True
        self._texts.insert(0, run.text)
        self._start = run.offset
        self._size += len(run.text)
        return True
