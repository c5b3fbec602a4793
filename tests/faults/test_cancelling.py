"""Cancelling: soon, for good, and the next of the session runs."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from pipeline import Handle, RequestCancelled, Settings
from pipeline.providers.simulator import Fixed, Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually, quickest

#: Seconds between heartbeats so long that none of them can be what told an agent within a second.
SELDOM = 20.0

#: Seconds that an agent and its thread take to notice what their worker knows.
MOMENT = 1.0


def watched(fleet: Fleet, number: int) -> tuple[Handle, Path]:
    """A request of the agent `watchful` that runs, and the file that it leaves when it is told to stop."""
    noticed = fleet.folder / f"noticed-{number}"
    handle = fleet.ask(agent="watchful", conversation_id=f"watched {number}", metadata={"gate": str(noticed)})
    fleet.worker_of(handle)
    return handle, noticed


def seconds_until_it_stops(handle: Handle, noticed: Path) -> float:
    """Cancel it, and take the time until it has noticed."""
    began = time.time()
    assert handle.cancel()
    eventually(noticed.exists, PATIENCE, what="the agent has noticed")
    return noticed.stat().st_mtime - began


def await_heartbeat(fleet: Fleet) -> None:
    """Until the one worker has just given a sign of life, so that the next one is a whole heartbeat away."""
    before = fleet.scalar("SELECT lease_until FROM workers")
    eventually(lambda: fleet.scalar("SELECT lease_until FROM workers") > before, PATIENCE, what="a heartbeat")


def test_a_running_agent_is_told_within_a_second(database: str, broker: Broker, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(database, broker.url, heartbeat=SELDOM, lease=4 * SELDOM)
    fleet.start(1)
    fleet.hears_orders()
    first = watched(fleet, 0)
    second = fleet.ask("next", conversation_id="watched 0")
    took = seconds_until_it_stops(*first)
    fleet.assert_answered([second], attempts=1)
    assert fleet.attempts(first[0]) == [("cancelled", None)]
    numbers = itertools.count(1)
    assert min(took, quickest(lambda: seconds_until_it_stops(*watched(fleet, next(numbers))), 1, tries=3)) < 1


def test_without_the_broker_a_running_agent_is_told_by_the_next_heartbeat(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    defaults = {name: Settings.model_fields[name].default for name in ("heartbeat", "lease")}
    fleet = make_fleet(database, broker.url, **defaults)
    fleet.start(1)
    fleet.hears_orders()
    tries = iter([watched(fleet, number) for number in range(3)])
    broker.kill()

    def longest() -> float:
        await_heartbeat(fleet)  # no try may be quick by chance
        return seconds_until_it_stops(*next(tries))

    limit = fleet.settings.heartbeat + MOMENT
    assert quickest(longest, limit, tries=3) < limit
    for handle, _ in tries:
        assert handle.cancel()
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
