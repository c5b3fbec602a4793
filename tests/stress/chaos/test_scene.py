"""A fault that is about how full a worker is strikes at that level or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos import scene as scene_module
from stress.chaos.fault import FAULTS, CannotStrike
from stress.chaos.scene import Scene

SLOTS = 48


class Worker:
    """Runs the next of these numbers of requests at each look, the last one from then on."""

    pid = 1

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.killed = False

    def run_by(self, _: Iterator[int]) -> dict[str, int]:
        number = self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]
        return {f"request {each}": 1 for each in range(number)}

    def kill(self) -> None:
        self.killed = True


def scene_of(worker: Worker) -> Scene:
    target: Any = SimpleNamespace(stack=SimpleNamespace(workers=[worker]), settings=SimpleNamespace(worker_slots=SLOTS))
    return Scene(target, cast("Any", worker), Random(1), 1, {})


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_module, "PATIENCE", 0.05)
    monkeypatch.setattr(scene_module, "POLL", 0.01)


@pytest.mark.parametrize(
    ("name", "runs", "wanted"),
    [
        ("worker_killed_full", 43, "at least 44"),
        ("worker_killed_half", 37, "20 to 36"),
        ("worker_killed_half", 19, "20 to 36"),
    ],
)
def test_a_worker_that_is_never_at_the_level_is_not_killed_and_the_reason_is_told(
    name: str, runs: int, wanted: str
) -> None:
    worker = Worker(runs)
    with pytest.raises(CannotStrike, match=f"{runs} requests to touch after 0.05 s, not {wanted}"):
        FAULTS[name].strike(scene_of(worker))
    assert not worker.killed


def test_what_is_waited_for_is_waited_for_no_more_once_the_run_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_module, "PATIENCE", 3600)
    worker = Worker(5)
    scene = scene_of(worker)
    scene.giving_up.set()
    with pytest.raises(CannotStrike, match="the run was given up"):
        scene.enough(lambda: worker.run_by(iter([1])))
    with pytest.raises(CannotStrike, match="the run was given up"):
        scene.hold(3600)
    hurt = SimpleNamespace(is_ready=lambda: False)
    monkeypatch.setattr(scene.stack, "programs", [hurt], raising=False)
    assert not scene.settle()


@pytest.mark.parametrize(("name", "runs"), [("worker_killed_full", 44), ("worker_killed_half", 36)])
def test_it_is_killed_once_it_is_there(name: str, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_module, "PATIENCE", 30)
    worker = Worker(0, 10, runs)
    strike = FAULTS[name].strike(scene_of(worker))
    assert worker.killed
    assert len(strike.touched) == runs
