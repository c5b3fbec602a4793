"""Counts that have grown old or void, and when a caller who was refused is to come again."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from pipeline import metrics
from pipeline.admission import tally
from pipeline.rate import Rate
from pipeline.store.database import Database
from tests.admission.asking import LIMIT, accepted, ask, counts_to, in_a_minute, probe, refused
from tests.admission.conftest import Connect
from tests.servers import Broker, eventually
from tests.store.desk import Sql


def grow_old(redis_client: redis.Redis, seconds: int = 3000) -> None:
    """Let the last count be of that long ago, and nobody have asked for another."""
    redis_client.hincrby(tally.QUEUE, "at", -1000 * seconds)
    redis_client.hset(tally.QUEUE, "asked", in_a_minute(redis_client))


def test_a_count_of_long_ago_refuses_nobody_when_the_queue_has_drained_meanwhile(
    connect: Connect, broker: Broker, redis_client: redis.Redis, sql: Sql
) -> None:
    client = connect(broker.url, queue_limit=LIMIT)
    eventually(lambda: accepted(ask(client, 30)) == 0, 20, what="the queue is full")
    sql.execute("UPDATE requests SET status = 'failed', head = false, finished_at = now()")
    grow_old(redis_client)
    assert accepted(ask(client, 25, conversation_id="later")) == 19
    assert refused(client).depth == 19


def test_a_queue_that_is_still_full_refuses_after_a_new_count_too(
    connect: Connect, broker: Broker, redis_client: redis.Redis
) -> None:
    client = connect(broker.url, queue_limit=LIMIT)
    eventually(lambda: accepted(ask(client, 30)) == 0, 20, what="the queue is full")
    grow_old(redis_client)
    redis_client.hset(tally.QUEUE, "rate", 10**6)
    assert refused(client).retry_after == 60, "how fast it drained is of long ago, too"


def told(connect: Connect, broker: Broker, redis_client: redis.Redis, **known: Any) -> float:
    """What a caller is told, given what is known of a queue of which 100 wait at the limit of 100."""
    client = connect(broker.url, queue_limit=100)
    fresh = in_a_minute(redis_client)
    known |= {"depth": 100, "counted": 0, "accepted": 0, "asked": fresh, "at": fresh}
    redis_client.hset(tally.QUEUE, mapping=known)  # type: ignore[arg-type] # its keys may be str
    return refused(client).retry_after


@pytest.mark.parametrize(("rate", "seconds"), [(10, 3.0), (2, 15.0), (0.01, 60.0), (1e6, 1.0), (0, 60.0)])
def test_a_caller_is_told_how_long_it_takes_to_drain(
    connect: Connect, broker: Broker, redis_client: redis.Redis, rate: float, seconds: float
) -> None:
    assert told(connect, broker, redis_client, rate=rate) == pytest.approx(seconds)


def test_nobody_knows_how_long_a_queue_takes_that_does_not_drain(
    connect: Connect, broker: Broker, redis_client: redis.Redis
) -> None:
    assert told(connect, broker, redis_client) == 60


def test_the_drain_rate_is_what_left_the_queue(redis_client: redis.Redis) -> None:
    limits = tally.Tally(redis_client, Rate(1000, 60), most=10**6, warn_at=10**6)
    now = int(redis_client.time()[0]) * 1000
    limits.look(["ada"] * 100)
    limits.counted(100, tally.Ask(now, 100))
    assert redis_client.hget(tally.QUEUE, "rate") is None
    limits.look(["ada"] * 50)
    limits.counted(90, tally.Ask(now + 2000, 150))  # 60 have left in two seconds
    assert redis_client.hget(tally.QUEUE, "rate") == b"30"
    limits.counted(90, tally.Ask(now + 1000, 150))  # older: void
    assert redis_client.hget(tally.QUEUE, "at") == str(now + 2000).encode()
    limits.counted(90, tally.Ask(now + 12_000, 150))  # none in ten seconds
    assert float(redis_client.hget(tally.QUEUE, "rate") or 0) == pytest.approx(30 * 0.3679, rel=0.01)
    limits.counted(0, tally.Ask(now + 60_000, 150))
    assert redis_client.hget(tally.QUEUE, "rate") is None


def test_a_count_that_fails_as_nobody_foresaw_is_counted_and_the_next_one_is_made(
    connect: Connect, broker: Broker, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(broker.url)
    faults = metrics.THREAD_FAULTS.labels("admission")
    before = faults._value.get()

    def fail(database: Database, *, most: int) -> int:
        raise LookupError("nobody foresaw it")

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.admission.gate.depth", fail)
        ask(client)
        eventually(lambda: faults._value.get() == before + 1, what="it is counted")
    counts_to(client, redis_client, 1, lambda: probe(client))


def test_a_count_from_before_the_broker_was_emptied_is_void(redis_client: redis.Redis) -> None:
    limits = tally.Tally(redis_client, Rate(1000, 60), most=10**6, warn_at=10**6)
    ask = limits.look(["ada"] * 100).ask
    assert ask is not None
    redis_client.flushall()
    limits.counted(100, ask)
    assert limits.look(["ada"]).depth is None
