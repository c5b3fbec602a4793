"""What Flower and others hear of tasks while they wait. Named as the application's `events`."""

from __future__ import annotations

from typing import Any

from celery.app import events
from celery.events.dispatcher import EventDispatcher

#: Events that wait for the next round at most (see `worker.EventFlush`). With Celery's 24, a busy worker sends every
#: eighth request's events itself, from the thread that answers it.
BUFFERED = 1000


class Dispatcher(EventDispatcher):  # type: ignore[misc]  # celery ships no types
    """Keeps to itself that the message of a retry has arrived: a worker holds it until the retry is due.

    Celery's event state takes the last event for a task's state, so that one which waits for its retry would be
    shown as RECEIVED, or as RETRY, by which of two events of the same millisecond came last.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"buffer_limit": BUFFERED, **options})

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002  # celery's signature
        if type == "task-received" and fields.get("retries") and fields.get("eta"):
            return None
        return super().send(type, *args, **fields)


class Events(events.Events):  # type: ignore[misc]  # celery ships no types
    """Celery's, with the above."""

    dispatcher_cls = "pipeline.transport.events:Dispatcher"
