"""The kombu transport: Celery on Redis or Valkey without redelivery, taking messages in batches.

Against `kombu.transport.redis`, whose connection handling it keeps:

- acknowledging costs nothing, because nothing is written down in Redis for redelivery (`qos.QoS`);
- BLMPOP takes as many messages as can start at once, from the first queue that has any, instead of BRPOP one;
- a channel keeps one client, instead of making one for each operation;
- an entry that is not a message is dropped and reported, instead of ending the worker.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps

from pipeline import signals
from pipeline.transport import address, garbage, wire
from pipeline.transport.qos import QoS

logger = logging.getLogger(__name__)


class Channel(kombu_redis.Channel):  # type: ignore[misc]  # kombu ships no types
    """One consumer's or producer's share of a transport."""

    QoS = QoS
    #: One list a queue: the queues themselves are the priorities.
    priority_steps = (0,)
    #: Served strictly in the order in which the worker was given them.
    queue_order_strategy = "priority"
    #: JSON within JSON, rather than base64 of it: shorter, and readable by whoever looks into the broker.
    body_encoding = "utf-8"
    #: Kombu would restore in `close`, after it has closed the connections that this needs: see `close` below.
    do_restore = False

    _kept_client: Any = None

    @property
    def awaits_messages(self) -> bool:
        """Whether a BLMPOP was sent whose answer has not been read."""
        return bool(self._in_poll)

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002  # kombu's signature
        if asynchronous:
            return super()._create_client(asynchronous=True)
        # The pool is replaced when the channel is closed, and after a fork.
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = super()._create_client()
        return self._kept_client

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  # kombu's signature
        conninfo = self.connection.client
        params = {
            "protocol": 2,
            "max_connections": self.max_connections,
            "socket_timeout": self.socket_timeout,
            "socket_connect_timeout": self.socket_connect_timeout,
            "health_check_interval": self.health_check_interval,
            "client_name": self.client_name,
            **address.connection_options(conninfo.hostname),
        }
        if conninfo.password:
            params |= {"username": conninfo.userid, "password": conninfo.password}
        cls = params.get("connection_class", self.connection_class)
        params["connection_class"] = self._watched(cls) if asynchronous else cls
        return params

    def _watched(self, cls: Any) -> Any:
        """`cls`, whose connections tell the event loop when they close."""
        channel = self

        class Connection(cls):  # type: ignore[misc]  # the class is chosen at run time
            def disconnect(self, *args: Any, **kwargs: Any) -> None:
                super().disconnect(*args, **kwargs)
                if channel._registered:
                    channel._on_connection_disconnect(self)

        return Connection

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        credit = self.qos.credit()
        if not queues or not credit:
            return
        wait = self.brpop_timeout if timeout is None else timeout
        self._in_poll = connection = self.client.connection
        self._brpop_sent_at = monotonic()
        connection.send_command("BLMPOP", wait, len(queues), *queues, "RIGHT", "COUNT", credit)

    def _brpop_read(self, **_: Any) -> bool:
        queue, entries = self._read_popped()
        if not entries:
            raise Empty
        try:
            # Credit is looked at again: a task whose time has come may have taken a slot since it was asked for.
            while entries and self.connection.serves(queue) and self.qos.credit():
                self._deliver(queue, entries.popleft())
        finally:
            self._give_back(queue, entries)
        return True

    def _read_popped(self) -> tuple[str, deque[bytes]]:
        """The answer to the BLMPOP that was sent: a queue and what was popped from it, maybe nothing."""
        connection = self._in_poll
        try:
            popped = self.client.parse_response(connection, "BLMPOP")
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._in_poll = None
        return (bytes_to_str(popped[0]), deque(popped[1])) if popped else ("", deque())

    def _deliver(self, queue: str, entry: bytes) -> None:
        try:
            envelope = wire.decode(entry)
        except wire.UnreadableMessageError as wrong:
            garbage.report(queue, str(wrong))
        else:
            self.connection.deliver(envelope, queue)

    def _give_back(self, queue: str, entries: Iterable[Any]) -> None:
        """Put entries back where they were popped from, in their order."""
        if entries := list(entries):
            self._create_client().rpush(queue, *reversed(entries))

    def _restore(self, message: Any, leftmost: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  # kombu's signature
        envelope = message.serializable()
        envelope["headers"]["redelivered"] = True
        info = message.delivery_info
        for queue in self._lookup(info["exchange"], info["routing_key"]):
            self._give_back(queue, [dumps(envelope)])

    def _basic_cancel(self, consumer_tag: str) -> None:
        super()._basic_cancel(consumer_tag)
        if not self.active_queues and self.awaits_messages:
            # Nobody will read the answer until the channel closes, which a stopping worker does last.
            self._give_back(*self._read_popped())

    def close(self) -> None:
        if not self.closed:
            self._leave_nothing_behind()
        super().close()

    def _leave_nothing_behind(self) -> None:
        """Give back what was taken and not started. Where the broker is gone, or refuses, the ledger publishes it
        again."""
        lost_or_refused = (*self.connection_errors, *self.connection.channel_errors)
        try:
            if self.awaits_messages:
                self._give_back(*self._read_popped())
        except lost_or_refused as lost:
            signals.broker_failed("give_back")
            logger.info("the broker's last answer was not read: %r", lost)
        held = self.qos.take_held()
        try:
            for message in reversed(list(held)):
                self._restore(message)
        except lost_or_refused as lost:
            signals.broker_failed("give_back")
            logger.warning("waiting messages were not given back to the broker: %r", lost)


class Transport(kombu_redis.Transport):  # type: ignore[misc]  # kombu ships no types
    """Named as Celery's `broker_transport`. Reads redis-py's URLs, credentials apart."""

    Channel = Channel
    can_parse_url = True

    def serves(self, queue: str) -> bool:
        """Whether there still is a consumer for `queue`."""
        return queue in self._callbacks

    def deliver(self, envelope: dict[str, Any], queue: str) -> None:
        """Hand a message to the consumer of `queue`."""
        self._callbacks[queue](envelope)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:  # noqa: FBT001, FBT002  # kombu's signature
        """`uri` for people, and with its password for Flower's broker page."""
        password = self.client.password
        return address.as_kombu_uri(uri, self.client.userid, password and (password if include_password else mask))
