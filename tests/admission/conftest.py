from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from pipeline import broker as connections
from tests.client.conftest import Connect, connect
from tests.servers import Broker
from tests.store.fixtures import desk, emptied_between_tests, ledger_url, sql, store

__all__ = ["Connect", "connect", "desk", "emptied_between_tests", "ledger_url", "sql", "store"]


@pytest.fixture
def redis_client(broker: Broker) -> Iterator[redis.Redis]:
    with connections.connect(broker.url, 5.0) as client:
        yield client
