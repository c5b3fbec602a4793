"""The broker may deliver a message as often as it likes; the request is answered once."""

from __future__ import annotations

from typing import cast
from uuid import UUID

import redis

from pipeline.worker.runtime import Runtime
from tests.faults.wiretap import Wiretap
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

REQUESTS = 20


def test_each_message_delivered_twice_is_answered_once_and_shown_as_ignored(
    fleet: Fleet, broker: Broker, wiretap: Wiretap
) -> None:
    handles = fleet.ask_many(REQUESTS)
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        entries = cast("list[bytes]", client.lrange("normal", 0, -1))
        assert len(entries) == REQUESTS
        client.rpush("normal", *entries[: REQUESTS // 2])  # these twice in a row, the others after all
        client.lpush("normal", *entries[REQUESTS // 2 :])
        fleet.start(2)
        fleet.assert_answered(handles, attempts=1)
        client.lpush("normal", *entries)  # and once more when all is over
    eventually(lambda: all(ignored(wiretap, handle.id) == 2 for handle in handles), PATIENCE, what="they are ignored")
    assert fleet.scalar("SELECT count(*) FROM messages") == 2 * REQUESTS
    assert fleet.scalar("SELECT count(*) FROM attempts") == REQUESTS
    eventually(lambda: all(wiretap.events(one.id, "task-succeeded") for one in handles), PATIENCE, what="all are told")
    assert all(wiretap.events(handle.id, "task-succeeded") == ["task-succeeded"] for handle in handles)


def test_of_copies_that_are_claimed_together_one_is_run(fleet: Fleet, runtime: Runtime) -> None:
    id_ = UUID(fleet.ask().id)
    first, second = runtime._desk._claim([id_, id_])
    assert first is not None
    assert second is None


def test_a_copy_that_comes_before_a_retry_is_due_does_not_run_it(
    fleet: Fleet, broker: Broker, wiretap: Wiretap
) -> None:
    handle = fleet.ask(agent="gate", timeout=0.5, max_attempts=9)
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        entries = cast("list[bytes]", client.lrange("normal", 0, -1))
        fleet.start(1)
        fleet.worker_of(handle)
        client.lpush("normal", *entries)
    eventually(lambda: ignored(wiretap, handle.id) == 1, PATIENCE, what="it is ignored")
    fleet.open_gate()
    fleet.assert_answered([handle])


def ignored(wiretap: Wiretap, request_id: str) -> int:
    return len(wiretap.events(request_id, "task-ignored"))
