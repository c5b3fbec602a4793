"""Messages come twice, and between them lies what is none."""

from __future__ import annotations

import json
import time
from typing import cast

import redis

from pipeline.transport.wire import UnreadableMessageError, decode
from stress.chaos.fault import FULL, CannotStrike, Strike, Touched, fault
from stress.chaos.scene import Scene

QUEUES = ("urgent", "normal", "batch")

#: How often the queues are tampered with, and how many seconds apart.
ROUNDS, APART = 5, 0.5

#: Pieces of it on each queue, each round.
PIECES = 50


def _headed(**headers: object) -> bytes:
    properties = {"delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": "normal"}}
    good = {"lang": "py", "task": "pipeline.answer", "id": "x", "argsrepr": "()", "kwargsrepr": "{}"}
    return json.dumps({"headers": {**good, **headers}, "properties": properties, "body": "[[], {}, {}]"}).encode()


#: What is no message, what is none for this pipeline, and what only looks like one.
GARBAGE = (
    b"\xff\xfe\x00",
    b"no message",
    b"null",
    b"{}",
    b"[1, 2]",
    b"x" * 100_000,
    _headed(),
    _headed(task="somebody.elses"),
    _headed(task=5),
    _headed(id=None),
    _headed(eta="soon"),
    _headed(timelimit="x"),
)


@fault("delivered_twice", FULL)
def deliver_twice(scene: Scene) -> Strike:
    """Put a second copy of each waiting message into its queue, right behind it or behind all, five times within
    some seconds. Touched: all that is unfinished and of whose message a copy was put there."""
    scene.enough(scene.ledger.at_broker)
    touched: Touched = {}
    began = time.monotonic()
    for number in range(ROUNDS):
        unfinished = scene.ledger.unfinished()
        with scene.redis() as client:
            copied = {id_ for queue in QUEUES for id_ in _copy(client, queue, first=bool(number % 2))}
        touched = {**{id_: fence for id_, fence in unfinished.items() if id_ in copied}, **touched}
        scene.hold(APART)
    if not touched:
        raise CannotStrike("no message of an unfinished request lay in a queue, to be copied")
    return Strike.since(began, touched)


def _copy(client: redis.Redis, queue: str, *, first: bool) -> set[str]:
    """Put a copy of each message before all others of the queue, or behind them. Returns the requests' ids."""
    entries = cast("list[bytes]", client.lrange(queue, 0, -1))
    if entries:
        push = client.rpush if first else client.lpush  # who takes one takes it from the right
        push(queue, *entries)
    return {id_ for id_ in map(_request_of, entries) if id_}


def _request_of(entry: bytes) -> str:
    """The id of the request that a message is about; nothing where it is no message."""
    try:
        id_ = decode(entry)["headers"].get("id")
    except UnreadableMessageError:
        return ""
    return str(id_).partition(".")[0]  # what was published again has its number behind the id


@fault("garbage", FULL)
def garbage(scene: Scene) -> Strike:
    """Put what is no message in front of all that waits, and behind it. Touched: what is published and does not
    run."""
    touched = scene.enough(scene.ledger.at_broker)
    began = time.monotonic()
    for _ in range(ROUNDS):
        with scene.redis() as client:
            for queue in QUEUES:
                client.rpush(queue, *scene.random.choices(GARBAGE, k=PIECES))
                client.lpush(queue, *scene.random.choices(GARBAGE, k=PIECES))
        scene.hold(APART)
    return Strike.since(began, touched)
