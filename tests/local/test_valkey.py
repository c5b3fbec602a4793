"""The embedded Valkey: durable, private, and back after whatever ended it."""

from __future__ import annotations

import stat
from pathlib import Path

import psutil
import redis

from pipeline.local import folders
from pipeline.local.valkey import Valkey
from tests.servers import Broker


def test_it_keeps_what_it_is_told_and_evicts_nothing(broker: Broker) -> None:
    with redis.Redis.from_url(broker.url) as client:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "port": "0"}
        assert client.config_get(*wanted) == wanted
    assert broker.pid is not None
    assert not psutil.Process(broker.pid).net_connections(kind="inet")


def test_its_socket_is_open_to_its_user_alone(broker: Broker) -> None:
    assert stat.S_IMODE(broker.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(broker.sockets.stat().st_mode) == 0o700


def test_its_data_may_lie_at_the_end_of_a_long_path(tmp_path: Path) -> None:
    sockets = folders.for_sockets()
    valkey = Valkey(tmp_path / ("long" * 30) / "valkey", sockets)
    valkey.start()
    valkey.stop()
    assert not list(sockets.iterdir())
    folders.remove_sockets(sockets)


def test_a_server_that_outlived_its_owner_is_stopped_before_the_next_one_starts(broker: Broker) -> None:
    with redis.Redis.from_url(broker.url) as client:
        client.set("key", "value")
    successor = Broker(broker.data, broker.sockets)
    successor.start()
    try:
        assert not broker.alive
        with redis.Redis.from_url(successor.url) as client:
            assert client.get("key") == b"value"
    finally:
        successor.stop()
