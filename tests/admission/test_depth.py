"""How much may wait: a warning at 70 % of the limit, refusal at 95 %; exact once a second, and nearly so in between."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from pipeline import Handle, QueueFull, metrics
from pipeline.admission import tally
from pipeline.schemas import Status
from pipeline.store.database import Database
from pipeline.store.ledger.depth import depth
from tests.admission.asking import LIMIT, accepted, ask, counted, counts_to, in_a_minute, probe, refused
from tests.admission.conftest import Connect
from tests.servers import Broker, eventually
from tests.store.desk import Desk, Sql, answered, count, ending, new

# -- what is counted --------------------------------------------------------------------------------------------------


def test_the_depth_is_what_waits_for_a_worker(desk: Desk) -> None:
    desk.end(answered(desk.running(user="done")))
    desk.end(ending(desk.running(user="retries"), Status.retrying, delay=60))
    desk.running(user="runs")
    desk.accept(new("waits"), new("waits"), new("waits"))
    assert depth(desk.database, most=100) == 4
    assert depth(desk.database, most=2) == 2


def test_the_depth_of_twenty_thousand_is_counted_in_milliseconds(desk: Desk, store: Database, sql: Sql) -> None:
    desk.converse()
    sql.execute("""
        INSERT INTO requests (id, session_id, user_id, position, agent, priority, rank, text, metadata, origin,
            stream_key, head, max_attempts, timeout, accepted_at, deadline, due_at)
        SELECT gen_random_uuid(), session_id, user_id, n + 1, agent, priority, rank, 'Hello.', metadata, origin,
            stream_key, n = 1, max_attempts, timeout, now(), now() + interval '1 hour', now()
        FROM requests, generate_series(1, 20000) AS n
    """)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert depth(store, most=60_000) == 20_000
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1


# -- what it costs ----------------------------------------------------------------------------------------------------


def scripts_run(broker: redis.Redis) -> int:
    return int(broker.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_to_look_at_the_limits_takes_one_round_trip_for_all_that_is_submitted_together(
    connect: Connect, broker: Broker, redis_client: redis.Redis
) -> None:
    client = connect(broker.url)
    ask(client)
    eventually(lambda: counted(redis_client) is not None, 20)
    redis_client.hset(tally.QUEUE, "asked", in_a_minute(redis_client))  # no count comes in between
    for number in (1, 200):
        before = scripts_run(redis_client)
        ask(client, number)
        assert scripts_run(redis_client) == before + 1


# -- refusal ----------------------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_and_leaves_no_trace(
    connect: Connect, broker: Broker, redis_client: redis.Redis, sql: Sql
) -> None:
    client = connect(broker.url, queue_limit=LIMIT)
    ask(client)
    eventually(lambda: counted(redis_client) == 1)
    assert accepted(ask(client, 30)) == 18
    before = metrics.QUEUE_REJECTIONS._value.get()
    full = refused(client)
    assert (full.depth, full.limit) == (19, LIMIT)
    assert metrics.QUEUE_REJECTIONS._value.get() == before + 1
    assert count(sql, "requests") == 19
    assert count(sql, "users WHERE user_id = 'late'") == 0
    assert redis_client.exists("cite_agent:rate:late") == 0  # nor does it use up what the user may submit


def test_what_begins_to_run_makes_room_within_about_a_second(
    connect: Connect, broker: Broker, redis_client: redis.Redis, desk: Desk
) -> None:
    client = connect(broker.url, queue_limit=LIMIT)
    ask(client)
    eventually(lambda: counted(redis_client) == 1)
    handles = [one for one in ask(client, 18) if isinstance(one, Handle)]
    refused(client)
    for handle in handles[1:6]:
        desk.claim_one(handle._uuid)
    eventually(lambda: accepted(ask(client, 1, user_id="late")), what="there is room")
    counts_to(client, redis_client, 15, lambda: probe(client))


def test_who_asks_again_with_a_known_key_is_not_refused_by_a_full_queue(connect: Connect, broker: Broker) -> None:
    client = connect(broker.url, queue_limit=LIMIT)
    keyed: dict[str, Any] = {"user_id": "ada", "conversation_id": "thesis", "idempotency_key": "k"}
    first = client.submit("Hello.", **keyed)
    eventually(lambda: accepted(ask(client, 30)) == 0, what="the queue is full")
    assert client.submit("Hello.", **keyed).id == first.id
    refused(client, idempotency_key="new")
    both = client.submit_many([
        {"text": "Hello.", **keyed}, {"text": "Hello.", **keyed, "idempotency_key": "other"},
    ])  # fmt: skip
    assert [type(one) for one in both] == [Handle, QueueFull]


def test_a_queue_that_is_nearly_full_is_told_of_once_a_while(
    connect: Connect, broker: Broker, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client, other = connect(broker.url, queue_limit=LIMIT), connect(broker.url, queue_limit=LIMIT)
    before = metrics.QUEUE_WARNINGS._value.get()
    ask(client)
    eventually(lambda: counted(redis_client) == 1)
    ask(client, 12)
    assert metrics.QUEUE_WARNINGS._value.get() == before
    ask(client)
    ask(client)
    ask(other)
    assert metrics.QUEUE_WARNINGS._value.get() == before + 1
    assert caplog.text.count("queue_nearly_full") == 1


@pytest.mark.parametrize(("limit", "may_wait"), [(1, 1), (2, 2), (10, 10), (100, 95)])
def test_the_mark_is_at_95_percent_but_never_at_nothing(
    connect: Connect, broker: Broker, redis_client: redis.Redis, limit: int, may_wait: int
) -> None:
    client = connect(broker.url, queue_limit=limit)
    client._gate.admit(["nobody"])  # whose count nobody makes
    redis_client.hset(tally.QUEUE, mapping={"depth": 0, "counted": 0, "accepted": 0, "at": in_a_minute(redis_client)})
    refusals, _ = client._gate.admit(["nobody"] * (limit + 1))
    assert refusals.count(None) == may_wait


# -- how far off ------------------------------------------------------------------------------------------------------


def test_between_counts_the_depth_is_exact_but_for_what_began_to_run(
    connect: Connect, broker: Broker, redis_client: redis.Redis, desk: Desk, store: Database
) -> None:
    client = connect(broker.url)
    ask(client, 40)
    eventually(lambda: counted(redis_client) is not None)
    ran = 0
    for number in range(60):
        (handle,) = ask(client, 1, user_id=f"v{number}")
        if number % 3 == 0:
            desk.claim_one(handle._uuid)
            ran += 1
        known = client._gate._tally.look([]).depth
        assert known is not None
        assert 0 <= known - depth(store, most=1000) <= ran
    counts_to(client, redis_client, depth(store, most=1000), lambda: probe(client))


# -- without the broker -----------------------------------------------------------------------------------------------


def test_without_the_broker_all_are_let_in_and_counted(connect: Connect, broker: Broker, sql: Sql) -> None:
    client = connect(broker.url, queue_limit=1, user_rate="1/day")
    assert accepted(ask(client, 3, user_id="ada")) == 1
    broker.kill()
    label = metrics.UNCHECKED_ADMISSIONS.labels("broker_away")._value
    before = label.get()
    assert accepted(ask(client, 5, user_id="ada")) == 5
    assert accepted(ask(client, 1, user_id="ada")) == 1
    assert label.get() == before + 6
    assert count(sql, "requests") == 7
    broker.start()
    eventually(lambda: accepted(ask(client, 1)) == 0, what="the limits hold again")


def test_an_emptied_broker_knows_the_depth_again_at_once(
    connect: Connect, broker: Broker, redis_client: redis.Redis
) -> None:
    client = connect(broker.url, queue_limit=LIMIT)
    eventually(lambda: accepted(ask(client, 30)) == 0, what="the queue is full")
    broker.flush()
    label = metrics.UNCHECKED_ADMISSIONS.labels("depth_unknown")._value
    before = label.get()
    ask(client)
    assert label.get() == before + 1
    eventually(lambda: (counted(redis_client) or 0) >= LIMIT)
    refused(client)
