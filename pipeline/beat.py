"""A beat that sends no more where enough waits; and the trace that each leaves in the broker: when it was at it."""

from __future__ import annotations

import os
import socket
import sys
import time
from functools import cached_property
from typing import Any

import redis
import structlog
from celery import signals as celerys
from celery.beat import PersistentScheduler

from pipeline import broker, signals
from pipeline.settings import current

log = structlog.get_logger(__name__)

#: A hash in the broker: each beat's name -> when it last sent something, in seconds of its clock.
KEY = "pipeline:beats"

#: Seconds after which a beat that sends nothing is forgotten.
KEEP = 86_400

#: By queue, the messages with which whoever serves it has enough to do. Where nobody does, it grows no further.
ENOUGH = {"maintenance": 10, "archive": 50}


class Scheduler(PersistentScheduler):  # type: ignore[misc]  # celery ships no types
    """Celery's, for tasks of which one more would only say the same again. Named as `beat_scheduler`."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send it, unless enough waits."""
        queue = entry.options.get("queue", "")
        try:
            if self._trace.client.llen(queue) < ENOUGH.get(queue, sys.maxsize):
                super().apply_entry(entry, producer=producer)
                return
        except redis.RedisError as fault:  # it would not take the task either; the next one is due soon
            signals.broker_failed("beat")
            log.warning("beat_not_sent", task=entry.name, error=type(fault).__name__)
            return
        log.info("beat_not_sent", task=entry.name, queue=queue, why="enough waits")
        self._trace.leave()

    @cached_property
    def _trace(self) -> Trace:
        return Trace()


class Trace:
    """What this process, a beat, leaves in the broker."""

    def __init__(self) -> None:
        settings = current()
        self.client = broker.connect(settings.broker, settings.broker_timeout)
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def leave(self, **_: Any) -> None:
        """This beat is at it."""
        try:
            note(self.client, self._name)
        except redis.RedisError as fault:
            signals.broker_failed("beat")
            log.warning("beat_not_noted", error=type(fault).__name__)


def connect() -> None:
    """Have a beat that this process may become leave its trace."""
    celerys.beat_init.connect(_begin, weak=False)


def last_seen(client: redis.Redis) -> dict[str, float]:
    """When each beat last sent something, by name; more than one that goes on is one too many. An entry that is no
    time is counted, and one of long ago: the next beat to leave its trace removes it.

    Raises redis.RedisError.
    """
    found: dict[Any, Any] = client.hgetall(KEY)
    return {_text(name): _seconds(seen) for name, seen in found.items()}


def note(client: redis.Redis, name: str) -> None:
    """This beat has just sent something. Raises redis.RedisError."""
    now = time.time()
    forgotten = [other for other, seen in last_seen(client).items() if now - seen > KEEP]
    with client.pipeline(transaction=True) as pipe:
        pipe.hset(KEY, name, repr(now))
        if forgotten:
            pipe.hdel(KEY, *forgotten)
        pipe.execute()


def _begin(**_: Any) -> None:
    celerys.after_task_publish.connect(Trace().leave, weak=False)


def _seconds(seen: bytes | str) -> float:
    try:
        return float(seen)
    except ValueError:
        signals.broker_failed("beat")
        log.warning("beat_unreadable")
        return 0.0


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
