"""A writer and clients on a broker of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from pipeline.broker import connect
from pipeline.stream import Reader, StreamWriter, Text, new_key
from tests.servers import Broker, eventually

#: Seconds for one answer of the broker, short, so that a frozen one is noticed soon.
TIMEOUT = 0.5


def read_until(reader: Reader, client: redis.Redis, length: int) -> list[Text]:
    """Text until the reader has this much of the attempt's."""
    shown: list[Text] = []

    def there() -> bool:
        shown.extend(reader.read(client, 0.2))
        return reader.position.offset >= length

    eventually(there, what=f"{length} characters")
    return shown


def cut_connections(admin: redis.Redis) -> None:
    """Break every connection but this one, idle or waiting."""
    for kind in ("normal", "pubsub"):
        admin.client_kill_filter(_type=kind, skipme=True)


@pytest.fixture
def admin(broker: Broker) -> Iterator[redis.Redis]:
    """A client with patience, for what a test itself wants of the broker."""
    made = connect(broker.url, 10)
    yield made
    made.close()


@pytest.fixture
def client(broker: Broker) -> Iterator[redis.Redis]:
    made = connect(broker.url, TIMEOUT)
    yield made
    made.close()


@pytest.fixture
def writer(broker: Broker) -> Iterator[StreamWriter]:
    client = connect(broker.url, TIMEOUT)
    made = StreamWriter(client, keep=60)
    made.start()
    yield made
    made.stop(5)
    client.close()


@pytest.fixture
def request_id() -> str:
    return str(uuid4())


@pytest.fixture
def key() -> bytes:
    return new_key()
