"""Connections to the broker."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import redis

from pipeline.broker import FAULTS, POLLED, Line, connect
from tests.servers import Broker, eventually


@pytest.fixture
def client(broker: Broker) -> Iterator[redis.Redis]:
    """One that sends nothing twice."""
    with closing(connect(broker.url, 5, retry=False)) as made:
        assert made.connection_pool.connection_class in POLLED.values()
        made.ping()
        yield made


def test_a_connection_that_the_broker_has_closed_is_not_used_again(client: redis.Redis, broker: Broker) -> None:
    with closing(connect(broker.url, 5)) as other:
        assert other.client_kill_filter(_type="normal", skipme=True) >= 1
    assert client.ping()


def test_a_reply_that_nobody_read_is_not_taken_for_anothers(client: redis.Redis) -> None:
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    connection.send_command("ECHO", "somebody else's")
    eventually(connection.can_read, what="it has come")
    pool.release(connection)
    assert client.echo("mine") == b"mine"


def test_a_reply_of_which_a_part_was_read_is_not_taken_for_anothers(client: redis.Redis) -> None:
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    connection.send_packed_command(connection.pack_command("ECHO", "first") + connection.pack_command("ECHO", "second"))
    assert connection.read_response() == b"first"
    eventually(connection.can_read, what="the other one has come")
    pool.release(connection)
    assert client.echo("mine") == b"mine"


def test_a_line_keeps_one_connection(client: redis.Redis) -> None:
    line = Line(client)
    numbers = {line.ask("CLIENT", "ID") for _ in range(3)}
    assert len(numbers) == 1
    line.close()
    assert client.client_id() in numbers  # it is the pool's again


def test_a_line_that_the_broker_has_closed_is_opened_again(client: redis.Redis, broker: Broker) -> None:
    with closing(connect(broker.url, 5)) as other:
        line = Line(client)
        first = line.ask("CLIENT", "ID")
        assert other.client_kill_filter(_id=str(first)) == 1
        assert line.ask("CLIENT", "ID") != first


def test_a_line_outlives_its_broker(client: redis.Redis, broker: Broker) -> None:
    line = Line(client)
    assert line.ask("ECHO", "here") == b"here"
    broker.kill()
    for _ in range(2):
        with pytest.raises(FAULTS):
            line.ask("ECHO", "anybody?")
    broker.start()
    assert line.ask("ECHO", "here again") == b"here again"


def test_what_comes_too_late_on_a_line_is_not_taken_for_what_is_asked_next(broker: Broker) -> None:
    with closing(connect(broker.url, 0.3)) as client:
        line = Line(client)
        line.ask("DEL", "nothing")
        with pytest.raises(redis.TimeoutError):
            line.ask("BLPOP", "nothing", 0.6)
        assert line.ask("ECHO", "mine") == b"mine"


def test_what_a_broker_refuses_leaves_the_line_as_it_was(client: redis.Redis) -> None:
    line = Line(client)
    first = line.ask("CLIENT", "ID")
    with pytest.raises(redis.ResponseError):
        line.ask("NONSENSE")
    assert line.ask("CLIENT", "ID") == first


def test_many_threads_on_one_line_have_each_their_own_reply(client: redis.Redis) -> None:
    line = Line(client)
    with ThreadPoolExecutor(8) as pool:
        words = [str(n).encode() for n in range(400)]
        assert list(pool.map(lambda word: line.ask("ECHO", word), words)) == words
