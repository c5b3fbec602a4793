"""Whatever a strike does to the scene for a while is undone, whether the while is over or the run is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.local.errors import NotReady
from pipeline.transport.wire import TaskMessage, encode
from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos.fault import FAULTS, CannotStrike
from stress.chaos.faults import rollout, storage, workers
from stress.chaos.scene import GIVEN_UP, Scene

TOUCHED = {f"request {number}": 1 for number in range(30)}


class Thing:
    """A server, a worker or a volume: notes what is done to it."""

    pid = 1
    folder: Any = None
    url = "postgresql:///nothing?host=/nowhere"

    def __init__(self, done: list[str]) -> None:
        self.done = done

    def __getattr__(self, verb: str) -> Any:
        return lambda *_, **__: self.done.append(verb)


class Stage:
    """A scene whose every part notes what is done to it, in one list; `given_up`: in the middle of the strike."""

    def __init__(self, *, given_up: bool = False) -> None:
        self.done: list[str] = []
        self.given_up = given_up
        self.met = 1
        self.random = Random(1)
        self.settings = SimpleNamespace(lease=12.0)
        self.stack = SimpleNamespace(cold_storage_url="somewhere", data=Path("somewhere"))
        self.ledger = SimpleNamespace(
            now=lambda: None,
            unfinished=lambda: TOUCHED,
            at_broker=lambda: TOUCHED,
            run_by=lambda _: TOUCHED,
            begun_since=lambda _: TOUCHED,
            refused_since=lambda _: self.met,
            held_up_since=lambda _: self.met,
        )
        self.giving_up = threading.Event()
        self.target = SimpleNamespace(environment={})
        self.broker: Any = Thing(self.done)
        self.postgres = Thing(self.done)
        self.queues: Any = Queues()

    def comes_true(self, condition: Callable[[], bool], seconds: float) -> bool:
        return Scene.comes_true(cast("Scene", self), condition, seconds)

    def any_worker(self) -> Thing:
        return Thing(self.done)

    def redis(self) -> Any:
        return nullcontext(self.queues)

    def volume(self, _: str) -> Any:
        one = Thing(self.done)
        one.folder = SimpleNamespace(iterdir=lambda: iter(["an archive"]))
        return one

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


#: What is done to a disk, but for the time that it lasts.
DISKS = {
    "storage_failing": ["protect", "unprotect"],
    "storage_slow": ["freeze", "thaw"],
    "broker_disk_full": ["fill", "empty"],
    "postgres_disk_full": ["fill", "empty"],
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults of disks last for a moment."""
    monkeypatch.setattr(storage, "COLD", 0.05)
    monkeypatch.setattr(storage, "DISK_FULL", 0.05)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", DISKS)
@pytest.mark.parametrize("met", [1, 0])
def test_a_disks_fault_that_no_write_met_was_not_made_and_is_undone_all_the_same(
    name: str, met: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage()
    stage.met = met
    monkeypatch.setattr(storage, "_postgres_refuses", lambda _: met > 0)
    stage.queues = SimpleNamespace(info=lambda _: {"aof_last_write_status": "err" if met else "ok"})
    if met:
        assert FAULTS[name].strike(cast("Scene", stage)).touched == TOUCHED
    else:
        with pytest.raises(CannotStrike, match="no write met with it"):
            FAULTS[name].strike(cast("Scene", stage))
    assert [stage.done[0], stage.done[-1]] == DISKS[name]


@pytest.mark.parametrize("name", DISKS)
def test_a_disk_is_well_again_at_once_when_the_run_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(given_up=True)
    monkeypatch.setattr(storage, "_postgres_refuses", lambda _: True)
    stage.queues = SimpleNamespace(info=lambda _: {"aof_last_write_status": "err"})
    with pytest.raises(CannotStrike, match=GIVEN_UP):
        FAULTS[name].strike(cast("Scene", stage))
    assert [stage.done[0], stage.done[-1]] == DISKS[name]


class Broker:
    """A broker's data, and whether it comes back before they are gone."""

    def __init__(self, data: Path, *, back: bool) -> None:
        self.data, self.alive = data, back
        (data / "appendonlydir").mkdir()
        (data / "appendonlydir" / "log").write_text("SET")
        (data / "dump").write_text("")

    def kill(self) -> None: ...


def test_the_brokers_data_are_gone_when_it_comes_back_or_the_fault_was_not_made(tmp_path: Path) -> None:
    stage = Stage()
    stage.broker = Broker(tmp_path, back=False)
    assert FAULTS["broker_data_lost"].strike(cast("Scene", stage)).touched == TOUCHED
    assert tmp_path.exists()
    assert not list(tmp_path.iterdir())
    stage.broker = Broker(tmp_path, back=True)
    with pytest.raises(CannotStrike, match="came back"):
        FAULTS["broker_data_lost"].strike(cast("Scene", stage))


class Beat:
    """A second beat, which leaves these traces in the broker, one at each look."""

    pid = 7
    alive = True

    def __init__(self, *seen: float) -> None:
        self.seen = list(seen)
        self.killed = False

    def launch(self) -> None: ...

    def kill(self) -> None:
        self.killed = True

    def hgetall(self, _: str) -> dict[bytes, bytes]:
        seen = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        return {b"host:1": b"9999.0", **({b"host:7": repr(seen).encode()} if seen else {})}


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (Beat(0.0, 0.0, 5.0, 5.0, 8.0), ""),
        (Beat(0.0), "no second beat within"),
        (Beat(5.0), "did not go on"),
    ],
)
def test_two_beats_are_two_once_the_second_beats_and_goes_on(
    second: Beat, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "Program", lambda *_: second)
    monkeypatch.setattr(workers, "FIRST_BEAT", 0.2)
    stage = Stage()
    stage.queues = second
    with pytest.raises(CannotStrike, match=why) if why else nullcontext():
        FAULTS["two_beats"].strike(cast("Scene", stage))
    assert second.killed


def test_a_worker_that_is_not_replaced_fails_the_rollout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rollout, "PATIENCE", 0.05)
    stage = Stage()
    worker = SimpleNamespace(pid=1, name="worker1", log=tmp_path / "log", said=str, ask_to_stop=lambda: None)
    stage.stack.workers = [worker]
    with pytest.raises(NotReady, match="worker1 was not replaced within"):
        FAULTS["rolling_restart"].strike(cast("Scene", stage))
