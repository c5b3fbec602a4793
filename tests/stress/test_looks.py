"""What the probes see of the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil
import pytest

from stress.looks import Memory, Spent

HERE, PARENT = psutil.Process(), psutil.Process().parent()
assert PARENT is not None


class Used:
    """A process, or what stands for one: how much processor time it has used in all, in seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def cpu_times(self) -> tuple[float, float, float, float, float]:
        return self.seconds, 0.0, 0.0, 0.0, 0.0

    def children(self, **_: bool) -> list[Used]:
        return []

    def num_threads(self) -> int:
        return 2


class Ended(Used):
    def __init__(self) -> None:
        super().__init__(0.0)

    def cpu_times(self) -> tuple[float, float, float, float, float]:
        raise psutil.NoSuchProcess(1)


def spent(*looks: Sequence[Used] | None) -> list[float | None]:
    """What is seen of a part at each look that finds these processes of it."""
    coming = iter(looks)
    seen = Spent()
    parts: Any = {"workers": lambda: next(coming)}
    return [seen.look(parts)["workers"] for _ in looks]


def test_processor_time_is_added_up_by_process_so_that_a_replacement_costs_nobody_elses_anew() -> None:
    stays, dies, comes = Used(100.0), Used(100.0), Used(0.0)
    seen = Spent()
    found: list[Used] = []
    parts: Any = {"workers": lambda: found}
    for here, seconds in (
        ([stays, dies], (100.0, 100.0)),
        ([stays, dies], (101.0, 101.0)),
        ([stays], (101.5,)),
        ([stays, comes], (101.7, 0.3)),
    ):
        found = here
        for process, used in zip(here, seconds, strict=True):
            process.seconds = used
        last = seen.look(parts)["workers"]
    assert last == pytest.approx(1.7 + 1.0 + 0.3)


def test_what_used_time_before_the_first_look_is_counted_from_there_on() -> None:
    assert spent([Used(50.0)], None, [Used(2.0)]) == [0.0, None, 2.0]


def test_a_process_that_ended_just_now_leaves_one_look_open_and_costs_nothing_of_the_others() -> None:
    one = Used(5.0)
    seen = Spent()
    found: list[Used] = [one]
    parts: Any = {"workers": lambda: found}
    assert seen.look(parts) == {"workers": 0.0}
    found, one.seconds = [one, Ended()], 7.0
    assert seen.look(parts) == {"workers": None}
    found, one.seconds = [one], 8.0
    assert seen.look(parts) == {"workers": 3.0}
    one.seconds = 4.0  # something below it went, and nobody took its time over
    assert seen.look(parts) == {"workers": 3.0}


@pytest.mark.parametrize(
    ("found", "replaced"),
    [
        ([[HERE], [HERE]], False),
        ([None, [HERE], None, [HERE]], False),  # who cannot be seen for a moment is not gone
        ([[HERE], [PARENT]], True),
        ([[HERE], [], [HERE]], True),
        ([[HERE], [HERE, PARENT], [HERE]], True),
    ],
)
def test_workers_that_are_not_the_same_at_every_look_were_replaced(
    found: Sequence[Sequence[psutil.Process] | None],
    replaced: bool,  # noqa: FBT001
) -> None:
    coming = iter(found)
    sizes = Memory(lambda: next(coming))
    for _ in found:
        sizes()
    assert sizes.replaced is replaced
