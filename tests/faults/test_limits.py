"""The limits while servers die: what is let in is kept, and nobody waits for a broker that is away."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline import Handle, QueueFull, RateLimited
from pipeline.providers.simulator import Simulator
from pipeline.providers.simulator.behaviour import Fixed
from tests.cli.conftest import Cli, cli
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

__all__ = ["cli"]


def test_with_the_broker_killed_in_the_middle_requests_are_accepted_and_answered(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, user_rate="50/hour")
    fleet.start(2)
    handles: list[Handle] = []
    took: list[float] = []
    stop = threading.Event()

    def submit() -> None:
        while not stop.is_set():
            began = time.monotonic()
            number = len(handles)
            handles.append(fleet.ask(f"message {number}", user_id=f"u{number // 40}", seconds=0.01))
            took.append(time.monotonic() - began)
            stop.wait(0.02)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        for keep_data in (True, False):
            before = len(handles)
            eventually(lambda before=before: len(handles) > before + 20, PATIENCE)  # type: ignore[misc]
            broker.kill()
            before = len(handles)
            eventually(lambda before=before: len(handles) > before + 20, PATIENCE)  # type: ignore[misc]
            broker.restart(keep_data=keep_data)
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert max(took) < 6
    fleet.assert_answered(handles)
    more = {"text": "more", "user_id": "greedy", "conversation_id": "c", "agent": "wait"}
    results = fleet.client.submit_many([more] * 60)
    assert sum(isinstance(one, RateLimited) for one in results) == 10  # the limits hold again
    fleet.assert_answered([one for one in results if isinstance(one, Handle)])


def test_a_full_queue_tells_a_time_after_which_there_is_room(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    small = make_fleet(database, broker.url, queue_limit=20, worker_slots=4)
    small.start(1)
    handles: list[Handle] = []
    waits: list[float] = []
    while len(handles) < 80:
        try:
            handles.append(small.ask(f"message {len(handles)}", user_id=f"u{len(handles)}", seconds=0.25))
        except QueueFull as full:
            waits.append(full.retry_after)
            time.sleep(full.retry_after if full.retry_after < 10 else 0.2)
    assert waits
    assert min(waits) < 10  # some 16 requests a second leave the queue
    assert all(1 <= one <= 60 for one in waits)
    small.assert_answered(handles)


def test_a_limit_of_concurrency_is_kept_and_used(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    seconds, slots, users = 1.0, 5, 40
    simulator.script(latency=Fixed(seconds=seconds))
    limited = [{**provider_at(simulator.url)[0], "max_concurrency": slots}]
    fleet = make_fleet(database, broker.url, providers=limited, recovery_interval=60)  # nobody waits for its look
    fleet.start(2)
    handles = fleet.ask_many(users, agent="chat")
    for handle in handles:
        handle.result(PATIENCE)
    took = simulator.counts.log[-1][0] - simulator.counts.log[0][0] + seconds
    assert simulator.counts.most_in_flight == slots
    ideal = seconds * users / slots
    assert took < 2 * ideal, "half of it at least, however busy this machine is"
    assert fleet.scalar("SELECT max(attempts) FROM requests") == 1, "who waits has made no attempt"


@pytest.fixture
def healing(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> Fleet:
    """A fleet whose provider is going to be dead for a while, for the command line too."""
    monkeypatch.setenv("CITE_AGENT_BROKER_URL", broker.url)
    return make_fleet(database, broker.url, providers=provider_at(simulator.url))


def test_what_a_dead_provider_failed_is_asked_again_when_it_lives(
    healing: Fleet, simulator: Simulator, cli: Cli
) -> None:
    fleet = healing
    fleet.start(1)
    simulator.script(rates=[{"kind": "401", "rate": 1}])
    dead = [fleet.ask(f"question {number}", agent="chat", conversation_id=f"c{number % 2}") for number in range(4)]
    eventually(lambda: all(one.status() == "failed" for one in dead), PATIENCE)
    reason = fleet.scalar("SELECT min(reason) FROM requests")
    simulator.script()
    assert fleet.client.retry(dead[0].id).result(PATIENCE).text
    result = cli("requests", "retry", "--all", "--reason", reason, "--provider", "simulator", "--rate", "20")
    assert result.exit_code == 0, result.output
    again = "SELECT r.status, o.id::text FROM requests r JOIN requests o ON o.id = r.retry_of"
    eventually(lambda: [status for status, _ in fleet.rows(again)] == ["succeeded"] * 4, PATIENCE)
    assert sorted(id_ for _, id_ in fleet.rows(again)) == sorted(one.id for one in dead)
    for conversation, asked in (("c0", ["question 0", "question 2"]), ("c1", ["question 1", "question 3"])):
        said = [one.content for one in fleet.client.history("ada", conversation) if one.role == "user"]
        assert said == asked
