"""What the other tests stand on: databases that are theirs alone, and servers that can be hurt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import redis

from pipeline.local.postgres import Postgres
from tests.servers import Broker, eventually


@pytest.mark.parametrize("_", [1, 2])
def test_each_test_has_an_empty_database_of_its_own(database: str, _: int) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (0,)
        connection.execute("CREATE TABLE left_behind ()")


def test_a_postgres_of_its_own_survives_an_immediate_stop(own_postgres: Postgres) -> None:
    with psycopg.connect(own_postgres.url) as connection:
        connection.execute("CREATE TABLE kept (number int)")
    own_postgres.stop(mode="immediate")
    own_postgres.start()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_frozen_postgres_answers_only_when_it_is_thawed(own_postgres: Postgres) -> None:
    with psycopg.connect(own_postgres.url) as connection, ThreadPoolExecutor() as threads:
        own_postgres.freeze()
        answer = threads.submit(connection.execute, "SELECT 1")
        with pytest.raises(TimeoutError):
            answer.result(timeout=0.3)
        own_postgres.thaw()
        assert answer.result(timeout=60).fetchone() == (1,)


def test_a_broker_keeps_its_data_over_a_crash_unless_it_is_told_not_to(broker: Broker) -> None:
    client = redis.Redis.from_url(broker.url)
    client.set("key", "value")
    # the append-only file is synced each second; what the process wrote outlives the process at once
    broker.restart()
    assert client.get("key") == b"value"
    broker.flush()
    assert client.get("key") is None
    client.set("key", "value")
    broker.restart(keep_data=False)
    assert client.get("key") is None
    client.close()


def test_a_frozen_broker_does_not_answer_until_it_is_thawed(broker: Broker) -> None:
    with redis.Redis.from_url(broker.url, socket_timeout=0.2, retry=None) as client:
        client.ping()
        broker.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        broker.thaw()
        assert eventually(broker.is_ready)
