"""A provider fails; the request is tried again by the rules, and every attempt is on record."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from pipeline import Handle, RequestFailed
from pipeline.providers.simulator import Fault, Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.faults.wiretap import Wiretap
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

RETRIED = ("retried", "http_503")


@pytest.fixture
def served(database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet) -> Fleet:
    """A fleet of one worker that asks the simulator; a delay over 2 s waits in the ledger."""
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url), countdown_max=2)
    fleet.start(1)
    return fleet


def chat(fleet: Fleet, **options: Any) -> Handle:
    return fleet.ask(agent="chat", **options)


def test_retries_are_counted_recorded_and_shown(served: Fleet, simulator: Simulator, wiretap: Wiretap) -> None:
    simulator.script("503", "503")
    handle = chat(served)
    assert handle.result(PATIENCE).attempts == 3
    assert served.attempts(handle) == [RETRIED, RETRIED, ("succeeded", None)]
    assert [row[0] for row in served.rows("SELECT status_code FROM calls ORDER BY id")] == [503, 503, 200]
    kinds = ("task-retried", "task-failed", "task-succeeded")
    eventually(
        lambda: wiretap.events(handle.id, *kinds) == ["task-retried", "task-retried", "task-succeeded"], what="events"
    )

    simulator.script("503", "503", "503")
    exhausted = chat(served)
    with pytest.raises(RequestFailed) as failed:
        exhausted.result(PATIENCE)
    assert (failed.value.reason, failed.value.attempts) == ("http_503", 3)
    assert served.attempts(exhausted) == [RETRIED, RETRIED, ("failed", "http_503")]
    eventually(lambda: wiretap.events(exhausted.id, *kinds)[2:] == ["task-failed"], what="its failure is shown")
    assert simulator.counts.arrived == 6


def test_how_often_is_the_requests_to_say_and_not_celerys(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet, wiretap: Wiretap
) -> None:
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url), retry_max_delay=1)
    fleet.start(1)
    simulator.script(*["503"] * 5)
    handle = chat(fleet, max_attempts=6)
    assert handle.result(PATIENCE).attempts == 6
    kinds = ("task-retried", "task-failed", "task-succeeded")
    eventually(lambda: "task-succeeded" in wiretap.events(handle.id, *kinds), what="its success is shown")
    assert wiretap.events(handle.id, *kinds) == ["task-retried"] * 5 + ["task-succeeded"]


def test_what_a_provider_asks_for_is_waited_for_and_a_long_wait_is_the_ledgers_alone(
    served: Fleet, simulator: Simulator, wiretap: Wiretap
) -> None:
    simulator.script(Fault(kind="429", retry_after=2))
    short = chat(served)
    assert short.result(PATIENCE).attempts == 2
    assert waited(simulator) >= 2

    simulator.reset_counts()
    simulator.script(Fault(kind="429", retry_after=4))
    long = chat(served)
    eventually(lambda: served.attempts(long) == [("retried", "http_429")], PATIENCE, what="its first attempt")
    row = served.rows("SELECT published_at, status, due_at > now() FROM requests WHERE id = %s", long.id)
    assert row == [(None, "retrying", True)]
    assert long.result(PATIENCE).attempts == 2
    assert waited(simulator) >= 4

    simulator.script(Fault(kind="429", retry_after=60))
    hopeless = chat(served, deadline=30)
    with pytest.raises(RequestFailed) as failed:
        hopeless.result(60)
    assert failed.value.attempts == 1


def test_a_retry_that_waits_in_the_ledger_is_shown_as_one(
    served: Fleet, simulator: Simulator, wiretap: Wiretap
) -> None:
    simulator.script(Fault(kind="429", retry_after=3))
    handle = chat(served)
    handle.result(PATIENCE)
    kinds = ("task-retried", "task-failed", "task-succeeded")
    eventually(lambda: "task-succeeded" in wiretap.events(handle.id, *kinds), what="its success is shown")
    assert wiretap.events(handle.id, *kinds) == ["task-retried", "task-succeeded"]


def waited(simulator: Simulator) -> float:
    """Seconds between the first two answers."""
    (first, _), (second, _) = simulator.counts.log[:2]
    return second - first


def test_a_provider_that_is_wholly_down_is_retried_and_answers_when_it_is_back(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fleet = make_fleet(
        database,
        broker.url,
        providers=provider_at(f"http://127.0.0.1:{port}/v1"),
        retry_jitter=False,
        retry_initial_delay=2,
    )
    fleet.start(1)
    handle = chat(fleet, max_attempts=4)
    eventually(lambda: fleet.attempts(handle), PATIENCE, what="its first attempt")
    with Simulator(port=port):
        assert handle.result(PATIENCE).text.startswith("[simulated]")
    assert fleet.attempts(handle)[0] == ("retried", "connection_error")


def test_a_request_whose_every_retry_message_is_lost_still_ends(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    agents = "tests.fleet_agents,tests.faults.lossy_agents"
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url), agents=agents)
    [worker] = fleet.start(1)
    simulator.script("503", "503")
    began = time.monotonic()
    handle = chat(fleet)
    assert handle.result(PATIENCE).attempts == 3
    assert time.monotonic() - began > 2 * fleet.settings.redelivery_grace
    assert fleet.log(worker).count("lost a retry") == 2
    assert simulator.counts.arrived == 3

    simulator.script("503", "503", "503")
    with pytest.raises(RequestFailed):
        chat(fleet).result(PATIENCE)
