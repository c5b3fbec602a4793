"""Whatever lies in a queue, the worker lives, says why it dropped it, and does not quote it."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

from pipeline.transport.wire import TaskMessage, encode
from tests.transport.conftest import StartWorker
from tests.transport.harness import Broker, Sender, wait_for

SECRET = "quote-me-not"


def message(*, headers: dict[str, Any] | None = None, properties: dict[str, Any] | None = None, **top: Any) -> str:
    """A good message but for what is given."""
    good = json.loads(encode(TaskMessage("test.note", "id", "normal", [SECRET]), "test"))
    good["headers"] |= headers or {}
    good["properties"] |= properties or {}
    return json.dumps(good | top)


PICKLED = base64.b64encode(pickle.dumps([[SECRET], {}, {}])).decode()

PICKLE: dict[str, Any] = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}

#: What lies in the queue, and the reason that is reported.
GARBAGE: list[tuple[str | bytes, str]] = [
    (SECRET, "not JSON"),
    (b"\xff\xfe\x00", "not JSON"),
    ("[1, 2]", "not a message"),
    ("{}", "not a message"),
    ("null", "not a message"),
    (message(properties={"delivery_tag": None}), "a message without delivery properties"),
    (message(body="a", properties={"body_encoding": "base64"}), "a body that is not base64"),
    (message(properties={"body_encoding": "rot13"}), "a body in an unknown encoding"),
    (message(body=None), "a message without a body"),
    (message(body=SECRET), "a body that cannot be decoded (DecodeError)"),
    (message(body="5"), "a body that is not a task's"),
    (message(body='[["x"], {}]'), "a body that is not a task's"),
    (
        message(
            body=PICKLED,
            properties={"body_encoding": "base64"},
            **PICKLE,
        ),
        "a body that cannot be decoded (ContentDisallowed)",
    ),
    (message(headers={"task": "test.unknown"}), "an unknown task"),
    (message(headers={"task": 5}), "not a task message"),
    (message(headers={"id": None}), "not a task message"),
    (message(headers={"eta": "soon"}), "an invalid task (InvalidTaskError)"),
    (message(headers={"expires": [SECRET]}), "an invalid task (InvalidTaskError)"),
    (message(headers={"timelimit": "x"}), "headers that Celery cannot read (ValueError)"),
]


def test_garbage_is_dropped_and_reported_and_what_follows_is_run(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = start_worker(slots=2)
    for number, (entry, _) in enumerate(GARBAGE):
        broker.client.lpush("normal", entry)
        sender.note(f"after{number}")
    wait_for(lambda: worker.wrote("end", f"after{len(GARBAGE) - 1}"))
    assert worker.lines("garbage") == [f"normal {why}" for _, why in GARBAGE]
    assert len(worker.lines("end")) == len(GARBAGE)
    assert not worker.says(SECRET)
    assert not worker.says("Connection to broker lost")
    # A full batch of it leaves the slots free.
    broker.client.lpush("normal", *["garbage"] * 100)
    sender.note("last")
    wait_for(lambda: worker.wrote("end", "last"))
    assert worker.stop() == 0
