"""Whoever ends a request passes on at once: neither recovery nor those who look for themselves are needed for it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
import redis

from pipeline import Handle
from pipeline.worker.runtime import Runtime
from tests.faults.wiretap import Wiretap
from tests.fleet import Fleet
from tests.servers import Broker, eventually

End = Callable[[Fleet, Runtime, Handle], object]


def by_answering(_: Fleet, runtime: Runtime, handle: Handle) -> object:
    return runtime.answer(UUID(handle.id), 1).ending


def by_cancelling(_: Fleet, __: Runtime, handle: Handle) -> object:
    return handle.cancel()


def by_recovery(fleet: Fleet, runtime: Runtime, handle: Handle) -> object:
    fleet.rows("UPDATE requests SET deadline = now() WHERE id = %s RETURNING id", handle.id)
    return runtime.recovery.run()["expired"]


@pytest.mark.parametrize("end", [by_answering, by_cancelling, by_recovery])
def test_whoever_ends_a_request_gives_the_next_one_to_the_broker_and_tells_who_waits(
    fleet: Fleet, runtime: Runtime, broker: Broker, wiretap: Wiretap, end: End
) -> None:
    handle, following = fleet.ask(), fleet.ask()
    broker.flush()
    assert end(fleet, runtime, handle)
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        [entry] = client.lrange("normal", 0, -1)
    assert following.id.encode() in entry
    eventually(lambda: any(handle.id.encode() in heard for heard in wiretap.heard), 20, what="who waits is told")
