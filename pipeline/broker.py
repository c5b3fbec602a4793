"""Connections to the broker, whose waits are bounded: dead or frozen, it costs a caller twice `timeout` at most."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

#: What an operation on the broker raises when the broker is away, too slow, or refuses.
FAULTS = (redis.RedisError, OSError)

#: Seconds of silence after which TCP asks whether the other side is still there.
KEEPALIVE_IDLE = 10


def connect(url: str, timeout: float, *, connections: int = 512, retry: bool = True) -> redis.Redis:
    """A client for `redis://`, `rediss://` or `unix://`, safe to use from any thread; bytes stay bytes.

    A command whose connection breaks is sent once more, at once, over a new one: the broker may run it twice. One
    that is not answered within `timeout` seconds is not repeated. With `retry=False` nothing is.
    """
    policy = Retry(NoBackoff(), 1 if retry else 0, supported_errors=(redis.ConnectionError,) if retry else ())
    client = redis.Redis.from_url(url, retry=policy, **_options(url, timeout, connections))
    pool = client.connection_pool
    pool.connection_class = POLLED.get(pool.connection_class, pool.connection_class)
    return client


class Line:
    """A connection that one asker keeps, for one command after the other: without a pool's and a client's part, which
    take as long as the command itself. Safe to use from any thread. What `connect` says of broken connections holds.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._lock = threading.Lock()
        self._connection: Any = None

    def ask(self, *command: bytes | str | float) -> Any:
        """Raises one of FAULTS."""
        with self._lock:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            elif self._connection.can_read():
                self._connection.disconnect()  # the broker has closed it, or said what nobody asked for
            connection = self._connection
            return connection.retry.call_with_retry(
                lambda: _asked(connection, command), lambda _: connection.disconnect()
            )

    def close(self) -> None:
        """Give the connection back. It is there again, should something be asked."""
        with self._lock:
            if self._connection is not None:
                self._pool.release(self._connection)
                self._connection = None


def _asked(connection: Any, command: tuple[bytes | str | float, ...]) -> Any:
    connection.send_command(*command, check_health=False)
    return connection.read_response()


class PolledConnection(redis.Connection):
    """By TCP. TLS may hold what the system does not know of, and is asked as ever."""

    def can_read(self, timeout: float = 0) -> bool:
        """Whether anything is there to read."""
        return _holds_something(self, timeout, super().can_read)


class PolledUnixConnection(redis.UnixDomainSocketConnection):
    """By a Unix socket."""

    def can_read(self, timeout: float = 0) -> bool:
        """Whether anything is there to read."""
        return _holds_something(self, timeout, super().can_read)


def _holds_something(connection: Any, timeout: float, ask: Callable[[float], Any]) -> bool:
    """What each command begins with: a connection that is closed, or holds what nobody read, is not used again. The
    library asks by a read that does not block, for which it changes the socket's mode there and back; that was a
    sixth of what a command takes. The system can be asked once."""
    sock, unread = connection._sock, getattr(connection._parser, "_buffer", None)  # noqa: SLF001 - it is one of ours
    if timeout or sock is None or unread is None:
        return bool(ask(timeout))
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(unread.unread_bytes() or poll.poll(0))


#: In place of the library's.
POLLED: dict[type, type] = {
    redis.Connection: PolledConnection,
    redis.UnixDomainSocketConnection: PolledUnixConnection,
}


def aconnect(url: str, timeout: float, *, connections: int = 512) -> redis.asyncio.Redis:
    """The same for asyncio. The client belongs to the event loop that uses it first."""
    policy = AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis.asyncio.Redis.from_url(url, retry=policy, **_options(url, timeout, connections))


def longest_block(client: redis.Redis | redis.asyncio.Redis) -> float:
    """Seconds for which a blocking command may wait in the broker: well within the time-out of its socket."""
    timeout: float = client.connection_pool.connection_kwargs["socket_timeout"]
    return timeout / 2


def _options(url: str, timeout: float, connections: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "max_connections": connections,
        "decode_responses": False,
        # RESP3 would cost another round trip at each connect, and nothing here needs it
        "protocol": 2,
    }
    if not url.startswith("unix://"):  # whose connections refuse the option
        options["socket_keepalive"] = True
        options["socket_keepalive_options"] = _keepalive()
    return options


def _keepalive() -> dict[int, int]:
    # macOS has another name for the first one, and may lack the rest
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    named = {idle: KEEPALIVE_IDLE, getattr(socket, "TCP_KEEPINTVL", None): 5, getattr(socket, "TCP_KEEPCNT", None): 3}
    return {option: value for option, value in named.items() if option is not None}
