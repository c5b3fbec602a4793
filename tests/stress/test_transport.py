from __future__ import annotations

import pytest
from kombu.connection import Connection

from stress.overhead.bare.transport import OneClientChannel, broker_url
from tests.servers import Broker


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("unix:///run/s/valkey.sock", "oneclient+socket:///run/s/valkey.sock"),
        ("redis://:secret@localhost:6379/1", "oneclient://:secret@localhost:6379/1"),
    ],
)
def test_urls_of_redis_py_become_kombus(given: str, wanted: str) -> None:
    assert broker_url(given) == wanted


def test_a_channel_keeps_one_client_and_outlives_a_restart_of_the_broker(broker: Broker) -> None:
    with Connection(broker_url(broker.url)) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put("before")
        channel = queue.producer.channel
        assert isinstance(channel, OneClientChannel)
        assert channel._create_client() is channel._create_client()
        broker.restart()
        queue.put("after")
        assert [queue.get(timeout=5).payload for _ in range(2)] == ["before", "after"]
        queue.close()
