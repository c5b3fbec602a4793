"""Send task messages without Celery: a batch is one round trip to the broker."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Sequence

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.errors import BrokerUnavailable
from pipeline.transport import address
from pipeline.transport.wire import TaskMessage, encode

#: Most connections to the broker at once; each thread that publishes uses one while it does.
CONNECTIONS = 1000


class Publisher:
    """Publishes from any number of threads. Connects when first used, and again when the connection was lost."""

    def __init__(self, url: str, timeout: float = 2.0) -> None:
        """`url` as redis-py reads it; `timeout` in seconds, of connecting and of the broker's answer, each."""
        self._origin = f"{os.getpid()}@{socket.gethostname()}"
        # Only a lost connection is tried again: the usual case is a broker that was restarted while we were idle.
        # A timeout is not, for then it would take twice as long.
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        options = {
            "protocol": 2,
            "max_connections": CONNECTIONS,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            **address.connection_options(url),
        }
        self._client = redis.Redis(connection_pool=redis.ConnectionPool(retry=retry, **options))

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        """Send `messages`, each queue's in the given order. Raises BrokerUnavailable: some may have been sent."""
        entries: defaultdict[str, list[str]] = defaultdict(list)
        for message in messages:
            entries[message.queue].append(encode(message, self._origin))
        try:
            if len(entries) == 1:
                [(queue, its_entries)] = entries.items()
                self._client.lpush(queue, *its_entries)
            elif entries:
                with self._client.pipeline(transaction=False) as pipeline:
                    for queue, its_entries in entries.items():
                        pipeline.lpush(queue, *its_entries)
                    pipeline.execute()
        except redis.RedisError as lost:
            raise BrokerUnavailable from lost

    def close(self) -> None:
        """Close the connections that nobody uses just now."""
        self._client.connection_pool.disconnect(inuse_connections=False)
