"""What is accepted or ended is passed on at once: nobody waits for recovery, nor has to look for an outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
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


def queued(broker: Broker) -> list[bytes]:
    """What the queue holds, the newest first."""
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        return cast("list[bytes]", client.lrange("normal", 0, -1))


def test_what_may_run_is_given_to_the_broker_as_soon_as_it_is_accepted(fleet: Fleet, broker: Broker) -> None:
    fleet.may_leave_unfinished = True
    alone = fleet.ask(user_id="ada")
    [one] = fleet.client.submit_many([{"text": "a question", "user_id": "bob", "conversation_id": "only"}])
    assert isinstance(one, Handle)
    last, first = queued(broker)
    assert alone.id.encode() in first
    assert one.id.encode() in last


@pytest.mark.parametrize("end", [by_answering, by_cancelling, by_recovery])
def test_whoever_ends_a_request_gives_the_next_one_to_the_broker_and_tells_who_waits(
    fleet: Fleet, runtime: Runtime, broker: Broker, wiretap: Wiretap, end: End
) -> None:
    handle, following = fleet.ask(), fleet.ask()
    broker.flush()
    assert end(fleet, runtime, handle)
    [entry] = queued(broker)
    assert following.id.encode() in entry
    eventually(lambda: any(handle.id.encode() in heard for heard in wiretap.heard), 20, what="who waits is told")
