"""What passes through the broker without being kept: Celery's events, and notices."""

from __future__ import annotations

import base64
import json
import threading
from types import TracebackType
from typing import Any, Self

import redis

#: Part of the channel's name by which Celery sends its events.
EVENTS = b"celeryev"


class Wiretap:
    """Hears every channel of a broker, as bytes; and reads Celery's events out of that."""

    def __init__(self, url: str) -> None:
        self.heard: list[bytes] = []
        self._client = redis.Redis.from_url(url)
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # redis-py gives it no types
        self.all_events: list[dict[str, Any]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wiretap", daemon=True)

    def __enter__(self) -> Self:
        self._pubsub.psubscribe("*")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._pubsub.close()
        self._client.close()

    def events(self, request_id: str, *kinds: str) -> list[str]:
        """The kinds of the events of a request's task, in order; only these `kinds`, where some are given."""
        of_request = [event for event in self.all_events if str(event.get("uuid", "")).startswith(request_id)]
        return [event["type"] for event in of_request if not kinds or event["type"] in kinds]

    def event(self, request_id: str, kind: str) -> dict[str, Any]:
        """The first event of that kind."""
        of_request = (event for event in self.all_events if str(event.get("uuid", "")).startswith(request_id))
        return next(event for event in of_request if event["type"] == kind)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._pubsub.get_message(timeout=0.2)
            except redis.RedisError:  # the broker is being hurt; what it says meanwhile is not heard
                self._stopping.wait(0.1)
                continue
            if message is not None:
                self.heard.append(message["data"])
                if EVENTS in message["channel"]:
                    self.all_events.extend(_events_in(message["data"]))


def _events_in(data: bytes) -> list[dict[str, Any]]:
    envelope = json.loads(data)
    body = envelope["body"]
    if envelope["properties"]["body_encoding"] == "base64":
        body = base64.b64decode(body)
    said = json.loads(body)
    return said if isinstance(said, list) else [said]
