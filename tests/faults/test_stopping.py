"""A worker is told to stop: what runs may finish within the stop time-out, and the rest runs elsewhere."""

from __future__ import annotations

import signal
import time

import psycopg

from tests.faults.conftest import MakeFleet
from tests.faults.wiretap import Wiretap
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually


def test_what_runs_is_finished_and_what_waits_is_left_to_others(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=4, stop_timeout=20)
    [stopping] = fleet.start(1)
    running = fleet.ask_many(4, agent="gate", user="running")
    eventually(lambda: fleet.running() == 4, PATIENCE, what="all slots are busy")
    queued = fleet.ask_many(4, user="queued")
    stopping.send_signal(signal.SIGTERM)
    eventually(lambda: "Warm shutdown" in fleet.log(stopping), PATIENCE, what="it was told")
    fleet.open_gate()
    assert stopping.wait(60) == 0
    fleet.assert_answered(running, attempts=1)
    assert {handle.status() for handle in queued} == {"queued"}
    fleet.start(1)
    fleet.assert_answered(queued, attempts=1)


def test_an_idle_worker_stops_at_once(database: str, broker: Broker, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(database, broker.url, stop_timeout=120)
    [worker] = fleet.start(1)
    fleet.assert_answered([fleet.ask()])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_what_ended_just_before_the_worker_was_told_to_stop_is_shown(fleet: Fleet, wiretap: Wiretap) -> None:
    [worker] = fleet.start(1)
    handle = fleet.ask()
    fleet.assert_answered([handle])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    eventually(lambda: wiretap.events(handle.id, "task-succeeded"), 10, what="its success is shown")


def test_what_takes_longer_than_the_stop_time_out_runs_elsewhere_at_once(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, stop_timeout=1, lease=8)
    fleet.start(2)
    steady = "SELECT bool_and(now() - started_at > %s * interval '1 second') FROM workers"
    eventually(lambda: fleet.scalar(steady, fleet.settings.lease), PATIENCE, what="they trust their own eyes")
    handle = fleet.ask(agent="stuck_at_first")
    stopping = fleet.worker_of(handle)
    stopping.send_signal(signal.SIGTERM)
    assert stopping.wait(60) == 0
    ended_at = time.time()
    fleet.assert_answered([handle], attempts=2)
    again = float(fleet.scalar("SELECT extract(epoch FROM started_at) FROM attempts WHERE number = 2"))
    renewed = fleet.settings.heartbeat  # so long before its end at most
    assert again - ended_at < fleet.settings.lease - renewed, "the lease was given back, not waited for"
    assert fleet.attempts(handle)[0] == ("retried", "worker_lost")


def test_a_claim_that_is_on_its_way_when_the_worker_is_told_to_stop_is_kept_within_the_time_out(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, stop_timeout=4)
    handle = fleet.ask(agent="stuck_at_first")
    with psycopg.connect(database) as holding:
        holding.execute("LOCK TABLE requests IN EXCLUSIVE MODE")
        [stopping] = fleet.start(1)
        eventually(lambda: "received" in fleet.log(stopping), PATIENCE, what="it is about to claim")
        stopping.send_signal(signal.SIGTERM)
        eventually(lambda: "Warm shutdown" in fleet.log(stopping), PATIENCE, what="it was told")
    assert stopping.wait(60) == 0
    fleet.start(1)
    fleet.assert_answered([handle], attempts=2)
    assert fleet.attempts(handle)[0] == ("retried", "worker_lost")


def test_an_agent_that_ignores_its_cancellation_does_not_keep_the_process(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, stop_timeout=1)
    [stopping] = fleet.start(1)
    handle = fleet.ask(agent="stubborn")
    fleet.worker_of(handle)
    fleet.start(1)
    stopping.send_signal(signal.SIGTERM)
    assert stopping.wait(60) == 70
    assert handle.result(PATIENCE).text == "attempt 2"
