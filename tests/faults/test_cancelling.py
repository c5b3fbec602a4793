"""Cancelling: soon, for good, and the next of the session runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline import Handle, RequestCancelled
from pipeline.providers.simulator import Fixed, Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually, quickest

#: Seconds that a busy machine may add.
BUSY = 3.0


def seconds_until_it_stops(fleet: Fleet, handle: Handle) -> float:
    """Cancel a request of the agent `watchful`, and take the time until it has noticed."""
    fleet.close_gate()
    fleet.worker_of(handle)
    began = time.time()
    assert handle.cancel()
    eventually(fleet.gate.exists, PATIENCE, what="the agent has noticed")
    return Path(fleet.gate).stat().st_mtime - began


def test_a_running_agent_is_told_within_a_second_and_without_the_broker_by_the_next_heartbeat(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, heartbeat=2.0, lease=8.0)
    fleet.start(1)
    fleet.hears_orders()
    first, second = fleet.ask(agent="watchful"), fleet.ask("next")
    took = seconds_until_it_stops(fleet, first)
    fleet.assert_answered([second], attempts=1)
    assert fleet.attempts(first) == [("cancelled", None)]
    assert min(took, quickest(lambda: seconds_until_it_stops(fleet, fleet.ask(agent="watchful")), 1)) < 1

    third = fleet.ask(agent="watchful")
    fleet.worker_of(third)
    broker.kill()
    assert seconds_until_it_stops(fleet, third) < fleet.settings.heartbeat + BUSY
    broker.start()
    fleet.assert_answered([fleet.ask()], attempts=1)


def test_the_call_of_a_cancelled_request_is_hung_up(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url))
    fleet.start(1)
    fleet.hears_orders()
    simulator.script(latency=Fixed(seconds=60))
    handle = fleet.ask(agent="chat")
    eventually(lambda: simulator.counts.in_flight == 1, PATIENCE, what="the provider is asked")
    began = time.time()
    assert handle.cancel()
    eventually(lambda: fleet.scalar("SELECT count(*) FROM calls"), PATIENCE, what="the call is accounted")
    ended = fleet.scalar("SELECT extract(epoch FROM finished_at) FROM calls")
    assert float(ended) - began < 10  # and not the minute that the provider takes


def test_cancelled_stays_cancelled_whatever_restarts(fleet: Fleet, broker: Broker) -> None:
    fleet.start(1)
    running = fleet.ask(agent="stubborn")
    behind = [fleet.ask(f"message {number}") for number in range(3)]
    fleet.worker_of(running)
    assert behind[1].cancel()
    assert running.cancel()
    assert not running.cancel()
    fleet.kill(*fleet.workers)
    broker.restart(keep_data=False)
    fleet.start(1)
    fleet.open_gate()
    fleet.assert_answered([behind[0], behind[2]])
    for handle in (running, behind[1]):
        assert handle.status() == "cancelled"
        with pytest.raises(RequestCancelled):
            handle.result(PATIENCE)
    assert fleet.scalar("SELECT count(*) FROM messages") == 4
