from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
import redis

from pipeline.broker import aconnect, connect
from tests.servers import Broker, eventually, quickest, seconds_of

from .conftest import TIMEOUT, cut_connections


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_dead_broker_is_refused_at_once(broker: Broker, client: redis.Redis) -> None:
    client.ping()
    broker.kill()

    def ping() -> None:
        with pytest.raises(redis.ConnectionError):
            client.ping()

    assert quickest(lambda: seconds_of(ping), TIMEOUT) < TIMEOUT


@pytest.mark.parametrize("connected", [True, False])
def test_a_frozen_broker_costs_two_time_outs_at_most(broker: Broker, client: redis.Redis, *, connected: bool) -> None:
    if connected:
        client.ping()

    def seconds() -> float:
        broker.freeze()
        took = seconds_of(lambda: gives_up(client))
        broker.thaw()
        if connected:
            eventually(lambda: answers(client), what="it is connected again")
        return took

    assert quickest(seconds, 2.5 * TIMEOUT) < 2.5 * TIMEOUT


def gives_up(client: redis.Redis) -> None:
    with pytest.raises(redis.TimeoutError):
        client.ping()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.TimeoutError:
        return False


def test_a_port_that_never_answers_costs_two_time_outs_at_most(mute: str) -> None:
    def ask() -> None:
        with connect(mute, TIMEOUT) as client:
            gives_up(client)

    assert quickest(lambda: seconds_of(ask), 2.5 * TIMEOUT) < 2.5 * TIMEOUT


def test_asyncio_code_waits_no_longer(broker: Broker) -> None:
    async def ask() -> float:
        client = aconnect(broker.url, TIMEOUT)
        assert await client.ping()
        broker.freeze()
        began = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            await client.ping()
        took = time.monotonic() - began
        broker.thaw()
        await client.aclose()
        return took

    assert quickest(lambda: asyncio.run(ask()), 2.5 * TIMEOUT) < 2.5 * TIMEOUT


def test_a_connection_that_was_cut_is_replaced_unnoticed(
    admin: redis.Redis, broker: Broker, client: redis.Redis
) -> None:
    client.set("name", b"value")
    cut_connections(admin)
    assert client.get("name") == b"value"
    broker.restart()
    assert client.get("name") == b"value"
