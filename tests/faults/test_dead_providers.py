"""Providers that are down, throttle, or cost too much: what the whole fleet does then."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pipeline import Handle, RequestFailed
from pipeline.broker import connect
from pipeline.providers import breaker
from pipeline.providers.simulator import Fault, Simulator
from pipeline.providers.simulator.behaviour import Fixed
from tests.faults.conftest import MakeFleet
from tests.faults.wiretap import Wiretap
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

#: Every call fails.
DEAD = {"rates": [{"kind": "503", "rate": 1}], "latency": Fixed(seconds=0.05)}

#: Seconds without an answer that part one burst of calls from the next.
APART = 2.0


@pytest.fixture
def second() -> Iterator[Simulator]:
    """Another provider."""
    with Simulator() as one:
        yield one


def providers(*simulators: Simulator, **facts: Any) -> list[dict[str, Any]]:
    """The setting for these, named p0, p1 …; the facts are the first one's."""
    found = [{"name": f"p{place}", "base_url": one.url, "model": "m"} for place, one in enumerate(simulators)]
    found[0].update(facts)
    return found


def state(fleet: Fleet, place: int = 0) -> str:
    with connect(fleet.settings.broker, 5) as client:
        return breaker.states(client, fleet.settings)[place].state


def bursts(simulator: Simulator) -> list[int]:
    """Answers in a row, as many as came without a pause between two."""
    found: list[int] = []
    last = float("-inf")
    for at, _ in sorted(simulator.counts.log):
        found = [*found, 1] if at - last > APART else [*found[:-1], found[-1] + 1]
        last = at
    return found


def ended(handles: Sequence[Handle]) -> int:
    return sum(handle.status().final for handle in handles)


def test_a_dead_provider_is_called_ten_times_and_then_three_times_at_most_whenever_it_is_tried(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    simulator.script(**DEAD)
    fleet = make_fleet(
        database, broker.url, providers=providers(simulator), worker_slots=4, breaker_open_seconds=3,
        breaker_ramp_seconds=1, max_retry_attempts=10,
    )  # fmt: skip
    fleet.start(3)
    handles = fleet.ask_many(40, agent="chat")
    eventually(lambda: len(bursts(simulator)) >= 3, PATIENCE, what="it is tried twice")
    in_flight = 3 * 4 - 1
    first, *trials = bursts(simulator)
    assert 10 <= first <= 10 + in_flight
    assert max(trials) <= 3
    waiting = fleet.rows("SELECT count(*), max(attempts), bool_or(published_at IS NULL) FROM requests"
                         " WHERE status = 'queued' AND reason LIKE 'breaker%%' AND due_at > now()")  # fmt: skip
    assert waiting[0][0] > 0, "they wait in the ledger"

    simulator.script()
    for handle in handles:
        handle.result(PATIENCE)
    assert state(fleet) == "closed"
    assert fleet.scalar("SELECT max(attempts) FROM requests") <= 10


def test_with_a_healthy_second_provider_none_of_500_requests_fails(
    database: str, broker: Broker, simulator: Simulator, second: Simulator, make_fleet: MakeFleet
) -> None:
    simulator.script(rates=[{"kind": kind, "rate": 0.25} for kind in ("503", "429", "cut", "reset")])
    fleet = make_fleet(database, broker.url, providers=providers(simulator, second))
    fleet.start(2)
    items = [
        {"text": f"q{n}", "user_id": f"u{n % 200}", "conversation_id": str(n), "agent": "chat"} for n in range(500)
    ]
    handles = [one for one in fleet.client.submit_many(items) if isinstance(one, Handle)]
    assert len(handles) == 500
    for handle in handles:
        assert handle.result(2 * PATIENCE).provider == "p1"
    assert fleet.scalar("SELECT max(attempts) FROM requests") == 1
    choices = [row[0] for row in fleet.rows("SELECT DISTINCT choice FROM calls WHERE provider = 'p1'")]
    assert "by order; p0: breaker_open" in choices
    assert all("p0" in choice for choice in choices), "each says why not the first"
    assert simulator.counts.arrived < 100


def test_a_reader_sees_the_text_begin_anew_where_another_provider_takes_over_in_the_middle(
    database: str, broker: Broker, simulator: Simulator, second: Simulator, make_fleet: MakeFleet
) -> None:
    simulator.script("cut", tokens_per_second=50)
    second.script(tokens_per_second=50)
    fleet = make_fleet(database, broker.url, providers=providers(simulator, second))
    fleet.start(1)
    handle = fleet.ask(agent="speaks_first")
    texts = list(handle.stream(PATIENCE))
    [anew] = [index for index, text in enumerate(texts) if text.restarted]
    answer = handle.result(PATIENCE)
    assert "".join(texts[:anew]).startswith("Let me see. [simulated]")
    assert "".join(texts[anew:]) == answer.text
    assert (answer.attempts, answer.provider) == (1, "p1")


def test_after_a_429_no_worker_calls_before_the_time_that_it_names(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    # each time that calls come back, the first of them are refused once more
    simulator.script(*[Fault(kind="429", retry_after=2)] * 16, latency=Fixed(seconds=0.05))
    fleet = make_fleet(
        database, broker.url, providers=providers(simulator), breaker_min_calls=1000, max_retry_attempts=20,
        worker_slots=6, recovery_interval=0.2,
    )  # fmt: skip
    fleet.start(2)
    handles = fleet.ask_many(40, agent="chat")
    for handle in handles:
        handle.result(PATIENCE)
    log = sorted(simulator.counts.log)
    refused = [at for at, outcome in log if outcome == "429"]
    assert len(refused) == 16, "a storm"
    for told in refused:
        # a call that had started before the answer was received is let go on
        early = [at for at, _ in log if told + 0.8 < at < told + 2]
        assert early == []
    assert fleet.scalar("SELECT count(*) FROM attempts WHERE reason = 'http_429'") == len(refused), "no other attempt"


def test_the_tokens_of_a_minute_are_not_exceeded_by_more_than_the_estimates_were_wrong(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, providers=providers(simulator, tokens_per_minute=1000))
    fleet.may_leave_unfinished = True
    fleet.start(2)
    fleet.ask_many(50, agent="chat", user="a user who says something of some length, so that it has tokens,")
    eventually(
        lambda: fleet.scalar("SELECT count(*) FROM requests WHERE reason = 'tokens_per_minute' AND status = 'queued'")
        + fleet.scalar("SELECT count(*) FROM requests WHERE status = 'succeeded'") == 50,
        PATIENCE,
        what="each is answered or waits",
    )  # fmt: skip
    used, calls, dearest = fleet.rows(
        "SELECT sum(input_tokens + output_tokens), count(*), max(input_tokens + output_tokens) FROM calls"
    )[0]
    assert calls < 50
    assert 500 < used <= 1000, "reserved by estimate, settled by usage"
    assert fleet.scalar("SELECT min(due_at - now()) FROM requests WHERE status = 'queued'").total_seconds() > 10
    assert dearest < 256, "what was settled made room for more"


def test_a_spent_budget_is_refused_with_the_reason_also_after_the_broker_was_emptied(
    database: str, broker: Broker, simulator: Simulator, second: Simulator, make_fleet: MakeFleet
) -> None:
    priced = providers(simulator, input_price=1000.0, output_price=1000.0, daily_budget=0.001)
    fleet = make_fleet(database, broker.url, providers=priced)
    fleet.start(1)
    fleet.ask(agent="chat").result(PATIENCE)
    broker.flush()
    time.sleep(1.1)  # for so long a sum is believed
    with pytest.raises(RequestFailed) as failed:
        fleet.ask(agent="chat").result(PATIENCE)
    assert (failed.value.reason, simulator.counts.arrived) == ("budget", 1)

    rich = make_fleet(database, broker.url, providers=[*priced, providers(second, second)[1]])
    fleet.kill(*fleet.workers)
    rich.start(1)
    handle = rich.ask(agent="chat", conversation_id="another")
    assert handle.result(PATIENCE).provider == "p1"
    [(choice,)] = rich.rows("SELECT choice FROM calls WHERE request_id = %s", handle.id)
    assert choice == "by order; p0: budget"


def test_a_deferral_is_shown_as_a_retry_and_expires_at_its_deadline_without_a_call(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet, wiretap: Wiretap
) -> None:
    simulator.script(Fault(kind="429", retry_after=60))
    fleet = make_fleet(database, broker.url, providers=providers(simulator))
    fleet.start(1)
    with pytest.raises(RequestFailed):
        fleet.ask(agent="chat", deadline=30).result(PATIENCE)  # it cannot wait for so long
    late = fleet.ask(agent="chat", deadline=3, conversation_id="late")
    eventually(lambda: wiretap.events(late.id, "task-retried") == ["task-retried"], PATIENCE, what="it is shown")
    row = fleet.rows("SELECT status, attempts, reason, published_at FROM requests WHERE id = %s", late.id)
    assert row == [("queued", 0, "retry_after", None)]
    eventually(lambda: late.status().final, PATIENCE, what="its deadline")
    assert (late.status().value, fleet.attempts(late), simulator.counts.arrived) == ("expired", [], 1)


def test_an_attempt_that_has_called_is_one_even_if_its_next_call_must_wait(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, providers=providers(simulator, requests_per_minute=1))
    fleet.start(1)
    handle = fleet.ask(agent="calls_twice")
    eventually(
        lambda: fleet.attempts(handle) == [("retried", "requests_per_minute")], PATIENCE, what="its first attempt"
    )
    [(delay,)] = fleet.rows("SELECT delay FROM attempts")
    assert 50 < delay <= 60, "as long as it takes, up to the cap of all delays"
    handle.cancel()


def test_redis_killed_in_the_middle_of_it_requests_keep_being_answered(
    database: str, broker: Broker, simulator: Simulator, second: Simulator, make_fleet: MakeFleet
) -> None:
    simulator.script(**DEAD)
    second.script(latency=Fixed(seconds=2))
    fleet = make_fleet(database, broker.url, providers=providers(simulator, second), breaker_open_seconds=2)
    fleet.start(2)
    handles = fleet.ask_many(30, agent="calls_twice")
    eventually(lambda: second.counts.in_flight >= 20, PATIENCE, what="they are at it")
    broker.kill()
    eventually(lambda: ended(handles) >= 20, PATIENCE, what="they are answered, each with a call more")
    assert any("breaker_local" in fleet.log(worker) for worker in fleet.workers)
    broker.start()
    for handle in handles:
        assert handle.result(PATIENCE).provider == "p1"


def test_no_key_of_the_brokers_holds_what_was_said(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, providers=providers(simulator, max_concurrency=5, tokens_per_minute=9000))
    fleet.start(1)
    fleet.ask("the words of the user", agent="chat").result(PATIENCE)
    with connect(broker.url, 5) as client:

        def read() -> dict[bytes, bytes | None]:
            return {key: client.get(key) for key in client.keys("cite_agent:*") if client.type(key) == b"string"}

        # that a call went well is told with the next one, or a moment later
        eventually(lambda: {key.decode().split(":")[1] for key in read()} == {"breaker", "limits"}, PATIENCE)
        kept = read()
    assert "words" not in json.dumps([(value or b"").decode() for value in kept.values()])
