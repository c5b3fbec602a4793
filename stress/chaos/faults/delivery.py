"""Messages come twice, and between them lies what is none."""

from __future__ import annotations

import json
import time
from typing import cast

from stress.chaos.fault import FULL, Strike, fault
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
    some seconds. Touched: what is published and does not run."""
    touched = scene.enough(scene.ledger.at_broker)
    began = time.monotonic()
    for number in range(ROUNDS):
        with scene.redis() as client:
            for queue in QUEUES:
                if entries := cast("list[bytes]", client.lrange(queue, 0, -1)):
                    push = client.rpush if number % 2 else client.lpush
                    push(queue, *entries)
        time.sleep(APART)
        touched = {**scene.ledger.at_broker(), **touched}
    return Strike.since(began, touched)


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
        time.sleep(APART)
    return Strike.since(began, touched)
