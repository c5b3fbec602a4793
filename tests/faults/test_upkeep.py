"""Upkeep has slots of its own: no load of requests keeps recovery from its work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.local import process
from pipeline.local.process import Launch
from tests.faults.conftest import MakeFleet
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

EXECUTED = "Task pipeline.recover["


@contextmanager
def beat(fleet: Fleet, folder: Path) -> Iterator[None]:
    """Celery's clock, while the block runs."""
    command = [sys.executable, "-m", "celery", "-A", "pipeline", "beat", "-s", str(folder / "schedule")]
    clock = process.spawn(Launch(command, folder / "beat.log", fleet.environment))
    try:
        yield
    finally:
        clock.terminate()
        clock.wait(60)


def test_a_small_worker_recovers_while_all_other_slots_are_busy_and_when_their_worker_is_dead(
    database: str, broker: Broker, make_fleet: MakeFleet, tmp_path: Path
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=2)
    [busy] = fleet.start(1)
    [small] = fleet.start(1, "-Q", "archive,maintenance", "-c", "2")
    handles = fleet.ask_many(2, agent="stuck_at_first")
    eventually(lambda: fleet.running() == 2, PATIENCE, what="all slots are busy")
    handles += fleet.ask_many(3, user="queued")
    with beat(fleet, tmp_path):
        eventually(lambda: fleet.log(small).count(f"{EXECUTED}") >= 2, PATIENCE, what="beat's tasks are taken")
        eventually(lambda: "succeeded" in fleet.log(small), PATIENCE, what="and executed")
    assert EXECUTED not in fleet.log(busy)
    fleet.kill(busy)
    lost = "SELECT count(*) FROM attempts WHERE reason = 'worker_lost'"
    eventually(lambda: fleet.scalar(lost) == 2, PATIENCE, what="recovery by the small worker")
    assert {handle.status() for handle in handles} <= {"queued", "retrying"}
    fleet.start(1)
    fleet.assert_answered(handles)
