"""Notices between processes, by PUBLISH and SUBSCRIBE: they carry ids only, and may be lost.

Whoever acts on a notice has another way to learn of it, which is slower: the ledger. So the listener's part is to be
quick, to be cheap, and to say when it may have missed something.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import uuid4

import redis
import structlog
from redis.client import PubSub

from pipeline import broker, signals

log = structlog.get_logger(__name__)

#: Seconds before the next try to connect: doubled, up to the latter, while it fails.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


def outcomes_channel(origin: str) -> str:
    """Where a client process, named by its `origin`, hears that requests it submitted have ended."""
    return f"cite_agent:outcomes:{origin}"


def control_channel(worker_id: str) -> str:
    """Where a worker hears that requests it runs are cancelled."""
    return f"cite_agent:control:{worker_id}"


def interrupts_channel(worker_id: str) -> str:
    """Where a worker hears that requests it runs are interrupted by the next of their sessions."""
    return f"cite_agent:interrupts:{worker_id}"


def publish(client: redis.Redis, ids: Mapping[str, Collection[str]]) -> None:
    """Send request ids to channels, all in one round trip. Raises redis.RedisError."""
    with client.pipeline(transaction=False) as pipe:
        for channel, of_channel in ids.items():
            if of_channel:
                pipe.publish(channel, " ".join(of_channel))
        pipe.execute()


def nothing() -> None:
    """For a listener whose owner has nothing to catch up on."""


class Listener:
    """One thread and one connection that hear several channels; the thread starts with the first subscription.

    `on_message(channel, ids)` is called for each notice. `on_reconnect()` is called when all subscriptions hold after
    a connection was made, the first one included: from then on nothing is missed, and what came before must be looked
    up. Both are called by the listener's thread and must be quick; asyncio code passes them on with
    `loop.call_soon_threadsafe`.

    `timeout` is in seconds: for each answer of the broker, and after which silence makes the listener ask for one.
    """

    def __init__(
        self,
        url: str,
        on_message: Callable[[str, list[str]], None],
        on_reconnect: Callable[[], None] = nothing,
        *,
        timeout: float = 2.0,
    ) -> None:
        # no repetition: redis-py would subscribe again by itself, and nobody would know that something was missed
        self._client = broker.connect(url, timeout, connections=4, retry=False)
        self._on_message = on_message
        self._on_reconnect = on_reconnect
        self._timeout = timeout
        #: Where the thread is told that `_wanted` has changed, or to stop.
        self._nudges = f"cite_agent:nudge:{uuid4().hex}"
        self._changed = threading.Condition()
        self._wanted: set[str] = set()
        self._heard: set[str] = set()  # channels whose subscription the broker has confirmed
        self._stopping = False
        self._thread: threading.Thread | None = None
        #: Connections lost, or not made.
        self.faults = 0

    @property
    def healthy(self) -> bool:
        """Whether every subscription holds, and the broker has answered lately."""
        with self._changed:
            return self._nudges in self._heard and self._wanted <= self._heard

    def subscribe(self, channel: str, wait: float = 0.0) -> bool:
        """Hear this channel, too. Whether it is heard already, after `wait` seconds at most.

        A frozen broker may hold the caller for `timeout`.
        """
        with self._changed:
            new = channel not in self._wanted
            self._wanted.add(channel)
        if new:
            self._wake()
        with self._changed:
            return self._changed.wait_for(lambda: channel in self._heard, wait)

    def want(self, channel: str) -> None:
        """`subscribe` that never waits for the broker: within `timeout` the thread sees it, or sooner by `hurry`."""
        with self._changed:
            self._wanted.add(channel)
            self._start()

    def lacks(self, channel: str) -> bool:
        """Whether there is a connection, but this channel is not heard yet: then it is worth while to `hurry`."""
        with self._changed:
            return self._nudges in self._heard and channel not in self._heard

    def hurry(self, channel: str, wait: float) -> bool:
        """Hear at once what is wanted. Returns whether this channel is heard, after `wait` seconds at most, or as
        soon as the connection is lost. A frozen broker may hold the caller for `timeout`."""
        self._wake()
        with self._changed:
            self._changed.wait_for(lambda: channel in self._heard or self._nudges not in self._heard, wait)
            return channel in self._heard

    def unsubscribe(self, channel: str) -> None:
        """Hear this channel no more, as soon as the thread sees it, within `timeout`. Never waits for the broker."""
        with self._changed:
            self._wanted.discard(channel)

    def stop(self) -> None:
        """End the thread and its connection."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._wake()
            thread.join(2 * self._timeout)
        self._client.close()

    def _wake(self) -> None:
        with self._changed:
            if self._start() or self._nudges not in self._heard:  # it looks at what is wanted once it has a connection
                return
        try:
            self._client.publish(self._nudges, b"")
        except broker.FAULTS as fault:  # the listener will notice, too, and connect anew
            log.debug("notices_not_nudged", error=type(fault).__name__)

    def _start(self) -> bool:
        """Whether the thread is new. To be called under the lock."""
        if self._thread is not None or self._stopping:
            return False
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()
        return True

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping:
            pubsub = PubSub(self._client.connection_pool)
            try:
                self._follow(pubsub)
            except broker.FAULTS as fault:
                pause = FIRST_PAUSE if self._nudges in self._heard else min(2 * pause, LONGEST_PAUSE)
                self._lost(fault)
            except Exception as fault:  # the thread's top: a new connection may be understood
                pause = min(2 * pause, LONGEST_PAUSE)
                signals.thread_failed("notices")
                log.exception("notices_broke_off")
                self._lost(fault)
            finally:
                pubsub.close()
            with self._changed:
                # spread, so that a broker that comes back is not met by all processes at once
                self._changed.wait_for(lambda: self._stopping, pause * random.uniform(0.5, 1.0))  # noqa: S311

    def _follow(self, pubsub: PubSub) -> None:
        """Hear one connection until it breaks, which raises one of broker.FAULTS, or until the end."""
        asked_for: set[str] = set()
        caught_up = False
        heard_at = time.monotonic()
        while not self._stopping:
            self._subscribe_changes(pubsub, asked_for)
            message = pubsub.get_message(timeout=self._timeout / 2)
            if message is None:
                self._check_silence(pubsub, time.monotonic() - heard_at)
                continue
            heard_at = time.monotonic()
            self._take(message)
            if not caught_up and self.healthy:
                caught_up = True
                self._call(self._on_reconnect)

    def _subscribe_changes(self, pubsub: PubSub, asked_for: set[str]) -> None:
        with self._changed:
            wanted = self._wanted | {self._nudges}
            self._heard &= wanted
        if added := wanted - asked_for:
            pubsub.subscribe(*added)
        if dropped := asked_for - wanted:
            pubsub.unsubscribe(*dropped)  # type: ignore[no-untyped-call] # redis-py gives it no types
        asked_for ^= added | dropped

    def _check_silence(self, pubsub: PubSub, silent: float) -> None:
        if silent > 1.5 * self._timeout:
            raise redis.TimeoutError("the broker is silent")
        pubsub.ping()

    def _take(self, message: dict[str, Any]) -> None:
        kind, channel = message["type"], (message["channel"] or b"").decode()
        if kind == "subscribe":
            with self._changed:
                self._heard.add(channel)
                self._changed.notify_all()
        elif kind == "message" and channel != self._nudges:
            self._call(self._on_message, channel, message["data"].decode(errors="replace").split())

    def _lost(self, fault: Exception) -> None:
        with self._changed:
            first = bool(self._heard) or not self.faults
            self._heard.clear()
            self._changed.notify_all()
            self.faults += 1
        signals.broker_failed("listen")
        if first:
            log.warning("notices_unheard", error=type(fault).__name__)

    def _call(self, callback: Callable[..., None], *given: object) -> None:
        try:
            callback(*given)
        except Exception:  # the thread's top: the owner's mistake with one notice must not end all others
            signals.broker_failed("listen")
            log.exception("notice_not_handled")
