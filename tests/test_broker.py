"""Connections to the broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from pipeline.broker import POLLED, connect
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
