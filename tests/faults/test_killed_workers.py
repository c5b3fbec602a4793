"""Workers die; requests do not."""

from __future__ import annotations

import time

import pytest

from pipeline import RequestFailed
from tests.faults.conftest import MakeFleet
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually


def test_a_killed_workers_twenty_requests_run_elsewhere_once(fleet: Fleet) -> None:
    [doomed] = fleet.start(1)
    handles = fleet.ask_many(20, agent="stuck_at_first")
    eventually(lambda: fleet.running() == 20, PATIENCE, what="all run")
    fleet.kill(doomed)
    fleet.start(1)
    fleet.assert_answered(handles, attempts=2)
    assert fleet.scalar("SELECT count(*) FROM messages") == 40
    assert fleet.rows("SELECT DISTINCT outcome, reason, delay FROM attempts WHERE number = 1") == [
        ("retried", "worker_lost", 0)
    ]


def test_all_workers_killed_at_once_lose_nothing(database: str, broker: Broker, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=3)
    fleet.start(2)
    running = fleet.ask_many(6, agent="stuck_at_first", user="running")
    eventually(lambda: fleet.running() == 6, PATIENCE, what="all slots are busy")
    queued = fleet.ask_many(6, user="queued")
    behind = [fleet.ask("behind", user_id=f"running {number}") for number in range(6)]
    fleet.kill(*fleet.workers)
    fleet.start(2)
    fleet.assert_answered(running, attempts=2)
    fleet.assert_answered(queued + behind, attempts=1)


def test_a_request_that_kills_each_worker_fails_after_its_attempts(fleet: Fleet) -> None:
    fleet.start(3)
    with pytest.raises(RequestFailed) as failed:
        fleet.ask(agent="deadly", max_attempts=2).result(PATIENCE)
    assert (failed.value.reason, failed.value.attempts) == ("worker_lost", 2)
    assert fleet.ask().result(PATIENCE).attempts == 1


@pytest.mark.defaults
def test_at_the_default_settings_a_dead_workers_requests_run_elsewhere_within_twenty_seconds(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, quick=False)
    fleet.start(2)
    handles = fleet.ask_many(8, agent="stuck_at_first")
    eventually(lambda: fleet.running() == 8, PATIENCE, what="all run")
    doomed = fleet.worker_of(handles[0])
    its_own = [handle for handle in handles if fleet.worker_of(handle) is doomed]
    fleet.kill(doomed)
    killed_at = time.time()
    fleet.assert_answered(its_own, attempts=2)
    last = fleet.scalar("SELECT extract(epoch FROM max(started_at)) FROM attempts WHERE number = 2")
    assert float(last) - killed_at < 20
    assert all(handle.cancel() for handle in handles if handle not in its_own)
