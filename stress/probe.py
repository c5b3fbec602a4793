"""Looking at something over and over, while a run goes on."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

#: What one look found, by name; None is what could not be seen just then.
Look = Mapping[str, float | None]

NAN = float("nan")


@dataclass(slots=True)
class Series:
    """What was seen, and when by the monotonic clock. What could not be seen is NaN."""

    times: array[float] = field(default_factory=lambda: array("d"))
    values: dict[str, array[float]] = field(default_factory=dict)

    def add(self, when: float, look: Look) -> None:
        for name in look:
            self.values.setdefault(name, array("d", [NAN] * len(self.times)))
        self.times.append(when)
        for name, values in self.values.items():
            found = look.get(name)
            values.append(NAN if found is None else found)

    def seen(self, name: str) -> list[tuple[float, float]]:
        """When and what, where it was seen."""
        pairs = zip(self.times, self.values.get(name, ()), strict=False)
        return [(when, value) for when, value in pairs if not math.isnan(value)]


class Probe:
    """Looks every so many seconds, from a thread of its own, between `start()` and `stop()`.

    A look that takes long delays those after it, and no other probe.
    """

    def __init__(self, name: str, look: Callable[[], Look], every: float) -> None:
        self.series = Series()
        self.last: Look = {}
        self._look = look
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)

    def look(self) -> Look:
        """Now, beside the rhythm."""
        self.last = self._look()
        return self.last

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            self.series.add(time.monotonic(), self.look())
            due = max(due + self._every, time.monotonic())
            if self._stopping.wait(due - time.monotonic()):
                break
        self.series.add(time.monotonic(), self.look())
