"""What a task message looks like in a broker's list: kombu's envelope around Celery's protocol 2."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.schemas import Json

_to_json = json.JSONEncoder(separators=(",", ":")).encode


class UnreadableMessageError(ValueError):
    """What was found in a queue is not a message. The text says why and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One run of a task to be published. `countdown` is in seconds; the representations are what Flower shows."""

    task: str
    id: str
    queue: str
    args: Sequence[Json] = ()
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    argsrepr: str = "()"
    kwargsrepr: str = "{}"
    countdown: float | None = None
    eta: datetime | None = None
    retries: int = 0
    #: W3C's trace context; a header of the message, where there is one.
    traceparent: str | None = None


_NO_CALLBACKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

#: A list entry with places for what differs between messages: serialising the rest each time takes four times as long.
_ENTRY = (
    _to_json(
        {
            "body": "%(body)s",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": "%(task)s",
                "id": "%(id)s",
                "shadow": None,
                "eta": "%(eta)s",
                "expires": None,
                "group": None,
                "group_index": None,
                "retries": "%(retries)s",
                "timelimit": [None, None],
                "root_id": "%(id)s",
                "parent_id": None,
                "argsrepr": "%(argsrepr)s",
                "kwargsrepr": "%(kwargsrepr)s",
                "origin": "%(origin)s",
                "ignore_result": True,
                "replaced_task_nesting": 0,
                "stamped_headers": None,
                "stamps": {},
            },
            "properties": {
                "correlation_id": "%(id)s",
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "%(queue)s"},
                "priority": 0,
                "body_encoding": "utf-8",
                "delivery_tag": "%(id)s",
            },
        }
    )
    .replace('"%(', "%(")
    .replace(')s"', ")s")
)


#: The same for a message that belongs to a trace.
_TRACED_ENTRY = _ENTRY.replace('"lang":"py"', '"lang":"py","traceparent":%(traceparent)s', 1)


def encode(message: TaskMessage, origin: str) -> str:
    """The list entry for `message`, as Celery's own producer would have written it."""
    eta = message.eta
    if message.countdown is not None:
        eta = datetime.now(UTC) + timedelta(seconds=message.countdown)
    values = {
        "body": _to_json([message.args, message.kwargs, _NO_CALLBACKS]),
        "task": message.task,
        "id": message.id,
        "queue": message.queue,
        "eta": eta and eta.isoformat(),
        "retries": message.retries,
        "argsrepr": message.argsrepr,
        "kwargsrepr": message.kwargsrepr,
        "origin": origin,
    }
    if message.traceparent is not None:
        values["traceparent"] = message.traceparent
    entry = _ENTRY if message.traceparent is None else _TRACED_ENTRY
    return entry % {name: _to_json(value) for name, value in values.items()}


def decode(entry: bytes) -> dict[str, Any]:
    """The envelope in a list entry. Raises UnreadableMessageError where kombu could not make a message of it."""
    try:
        envelope = json.loads(entry.decode())
    except ValueError:
        raise UnreadableMessageError("not JSON") from None
    if not isinstance(envelope, dict):
        raise UnreadableMessageError("not a message")
    properties = envelope.get("properties")
    if not isinstance(properties, dict) or not isinstance(envelope.get("headers"), dict):
        raise UnreadableMessageError("not a message")
    if not isinstance(properties.get("delivery_tag"), str) or not isinstance(properties.get("delivery_info"), dict):
        raise UnreadableMessageError("a message without delivery properties")
    _check_body(envelope.get("body"), properties.get("body_encoding"))
    return envelope


def _check_body(body: object, encoding: object) -> None:
    if not isinstance(body, str):
        raise UnreadableMessageError("a message without a body")
    if encoding == "base64":
        try:
            base64.b64decode(body)
        except ValueError:
            raise UnreadableMessageError("a body that is not base64") from None
    elif encoding not in (None, "utf-8"):
        raise UnreadableMessageError("a body in an unknown encoding")


def is_task_body(body: object) -> bool:
    """Whether a decoded body is protocol 2's: positional arguments, keyword arguments, callbacks."""
    return (
        isinstance(body, list)
        and len(body) == 3
        and isinstance(body[0], list)
        and isinstance(body[1], dict)
        and isinstance(body[2], dict | None)
    )
