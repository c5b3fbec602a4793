"""Whatever a strike does to the scene for a while is undone, whether the while is over or the run is given up."""

from __future__ import annotations

from contextlib import nullcontext
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.transport.wire import TaskMessage, encode
from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos.fault import FAULTS, CannotStrike
from stress.chaos.scene import GIVEN_UP, Scene

TOUCHED = {f"request {number}": 1 for number in range(30)}


class Thing:
    """A server, a worker or a volume: notes what is done to it."""

    pid = 1

    def __init__(self, done: list[str]) -> None:
        self.done = done

    def __getattr__(self, verb: str) -> Any:
        return lambda *_, **__: self.done.append(verb)


class Stage:
    """A scene whose every part notes what is done to it, in one list; `given_up`: in the middle of the strike."""

    def __init__(self, *, given_up: bool = False) -> None:
        self.done: list[str] = []
        self.given_up = given_up
        self.random = Random(1)
        self.settings = SimpleNamespace(lease=12.0)
        self.stack = SimpleNamespace(cold_storage_url="somewhere")
        self.ledger = SimpleNamespace(
            now=lambda: None,
            unfinished=lambda: TOUCHED,
            at_broker=lambda: TOUCHED,
            run_by=lambda _: TOUCHED,
            begun_since=lambda _: TOUCHED,
        )
        self.broker = self.postgres = Thing(self.done)
        self.queues: Any = Queues()

    def any_worker(self) -> Thing:
        return Thing(self.done)

    def redis(self) -> Any:
        return nullcontext(self.queues)

    def enough(self, look: Any, *_: Any, **__: Any) -> Any:
        return look()

    def play(self, *_: Any, **behaviour: Any) -> None:
        self.done.append(f"{behaviour['rates'][0]['kind']}" if behaviour else "calm")

    def hold(self, seconds: float) -> None:
        self.done.append(f"{seconds:g} s")
        if self.given_up:
            raise CannotStrike(GIVEN_UP)


class Queues:
    """The broker's lists."""

    def __init__(self, **queues: list[bytes]) -> None:
        self.queues = {"urgent": [], "normal": [], "batch": [], **queues}

    def lrange(self, queue: str, *_: int) -> list[bytes]:
        return list(self.queues[queue])

    def lpush(self, queue: str, *entries: bytes) -> None:
        self.queues[queue] = [*reversed(entries), *self.queues[queue]]

    def rpush(self, queue: str, *entries: bytes) -> None:
        self.queues[queue] += entries


#: What is done, in this order.
LASTING = {
    "broker_frozen": ["freeze", "10 s", "thaw"],
    "postgres_frozen": ["freeze", "18 s", "thaw"],
    "worker_frozen": ["freeze", "18 s", "thaw"],
    "storm_hang": ["hang", "5 s", "calm"],
}


@pytest.mark.parametrize("name", LASTING)
def test_what_is_hurt_for_a_while_is_well_again_after_it(name: str) -> None:
    stage = Stage()
    strike = FAULTS[name].strike(cast("Scene", stage))
    assert stage.done == LASTING[name]
    assert strike.touched == TOUCHED


@pytest.mark.parametrize("name", LASTING)
def test_what_is_hurt_is_well_again_at_once_when_the_run_is_given_up(name: str) -> None:
    stage = Stage(given_up=True)
    with pytest.raises(CannotStrike, match=GIVEN_UP):
        FAULTS[name].strike(cast("Scene", stage))
    assert stage.done == LASTING[name]


def message(id_: str) -> bytes:
    return encode(TaskMessage("pipeline.answer", id_, "normal"), "here").encode()


def test_delivered_twice_touches_those_whose_message_was_copied_and_no_other() -> None:
    stage = Stage()
    stage.queues = Queues(normal=[message("request 1"), message("request 2.3"), message("ended"), b"no message"])
    strike = FAULTS["delivered_twice"].strike(cast("Scene", stage))
    assert strike.touched == {"request 1": 1, "request 2": 1}
    assert stage.queues.queues["normal"].count(message("request 2.3")) == 2**5


def test_delivered_twice_is_not_made_where_nothing_was_copied() -> None:
    with pytest.raises(CannotStrike, match="no message"):
        FAULTS["delivered_twice"].strike(cast("Scene", Stage()))
