"""The broker dies, forgets, freezes and hangs up; what was accepted is answered, and the workers live on."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from pipeline import Client
from tests.faults.conftest import MakeFleet
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

#: Requests that run when the fault strikes, and more that wait where the worker has no slot for them.
RUNNING, QUEUED = 2, 6


def reset_connections(broker: Broker) -> None:
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def on_disk(broker: Broker) -> None:
    """Wait until what was sent is in the append-only file: a crash may cost its last second."""
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        client.execute_command("WAITAOF", 1, 0, 10_000)


def restart_with_its_data(broker: Broker) -> None:
    on_disk(broker)
    broker.restart()


FAULTS: dict[str, Callable[[Broker], None]] = {
    "killed and restarted": restart_with_its_data,
    "restarted without its data": lambda broker: broker.restart(keep_data=False),
    "emptied": Broker.flush,
    "its connections reset": reset_connections,
}


@pytest.mark.parametrize("slots", [RUNNING, 2 * RUNNING], ids=["busy worker", "half-busy worker"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_queued_and_what_runs_is_answered_by_the_same_worker(
    fault: str, slots: int, database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=slots)
    [worker] = fleet.start(1)
    handles = fleet.ask_many(RUNNING, agent="gate")
    eventually(lambda: fleet.running() == RUNNING, PATIENCE, what="they run")
    if slots == RUNNING:
        handles += fleet.ask_many(QUEUED, user="queued")
    FAULTS[fault](broker)
    handles += fleet.ask_many(2, user="afterwards")
    fleet.open_gate()
    fleet.assert_answered(handles, attempts=1)
    fleet.assert_answered([fleet.ask()], attempts=1)
    assert worker.poll() is None


def test_while_the_broker_is_down_running_requests_end_and_are_told_and_new_ones_are_accepted(
    fleet: Fleet, broker: Broker
) -> None:
    [worker] = fleet.start(1)
    running = fleet.ask(agent="gate")
    fleet.worker_of(running)
    broker.kill()
    accepted = fleet.ask_many(3)
    fleet.open_gate()
    assert running.result(60).attempts == 1
    assert {handle.status() for handle in accepted} == {"queued"}
    broker.start()
    fleet.assert_answered(accepted, attempts=1)
    assert worker.poll() is None


def test_a_frozen_broker_holds_a_submission_for_less_than_six_seconds_and_its_request_is_answered(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, broker_timeout=2.0)  # the default
    [worker] = fleet.start(1)
    fleet.assert_answered([fleet.ask()])  # this client has its connections already
    broker.freeze()
    accepted = [timed_submission(fleet, fleet.client)]
    with Client(fleet.settings) as another:
        accepted.append(timed_submission(fleet, another))
        assert {fleet.client.get(id_).status() for id_ in accepted} == {"queued"}
        broker.thaw()
    fleet.assert_answered([fleet.client.get(id_) for id_ in accepted], attempts=1)
    assert worker.poll() is None


def timed_submission(fleet: Fleet, client: Client) -> str:
    began = time.monotonic()
    id_ = client.submit("a question", user_id="eve", conversation_id=str(began), agent="wait").id
    assert time.monotonic() - began < 6
    assert fleet.scalar("SELECT count(*) FROM requests WHERE id = %s", id_) == 1
    return id_
