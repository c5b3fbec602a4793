"""Asking until the queue is full, and what the broker then knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from pipeline import Client, Handle, QueueFull
from pipeline.admission import tally
from tests.servers import eventually

#: Of which 19 may wait.
LIMIT = 20


def ask(client: Client, number: int = 1, **options: Any) -> list[Any]:
    given = {"text": "Hello.", "conversation_id": "thesis", **options}
    return client.submit_many([{"user_id": f"u{n}", **given} for n in range(number)])


def accepted(results: list[Any]) -> int:
    return sum(isinstance(one, Handle) for one in results)


def counted(client: redis.Redis) -> int | None:
    found = client.hget(tally.QUEUE, "depth")
    return None if found is None else int(found)


def in_a_minute(client: redis.Redis) -> int:
    """A moment of the broker's clock: what was counted or asked then stays new for the whole test."""
    return int(client.time()[0]) * 1000 + 60_000


def counts_to(client: Client, broker: redis.Redis, expected: int, probe: Callable[[], object]) -> None:
    """Probe until an exact count says so."""

    def look() -> bool:
        probe()
        return counted(broker) == expected

    eventually(look, what=f"the count is {expected}")


def probe(client: Client) -> None:
    """Look at the limits as a submission does, and submit nothing."""
    _, ask = client._gate.admit([])
    if ask is not None:
        client._gate.count(ask)


def refused(client: Client, **options: Any) -> QueueFull:
    with pytest.raises(QueueFull) as full:
        client.submit("Hello.", **{"user_id": "late", "conversation_id": "new", **options})
    return full.value
