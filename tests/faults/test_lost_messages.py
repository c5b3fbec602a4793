"""A queue loses one message of many: recovery tells by how far its workers have come in it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import cast
from uuid import UUID

import redis

from pipeline import Handle
from pipeline.schemas import Priority
from pipeline.store.ledger import recover
from pipeline.worker.runtime import Runtime
from tests.faults.conftest import MakeFleet
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

#: Seconds.
GRACE = 60.0


def test_a_message_that_is_lost_from_a_queue_with_others_in_it_is_sent_again(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=1)
    lost = fleet.ask(user_id="ada")
    broker.flush()
    published_ago(fleet, lost, 2 * fleet.settings.redelivery_grace)
    running, waits = fleet.ask(user_id="bob", agent="gate"), fleet.ask(user_id="eve")
    fleet.start(1)
    eventually(lambda: fleet.publications(lost) == 2, PATIENCE, what="it is missed, for one after it was claimed")
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        eventually(lambda: client.llen("normal") == 2, PATIENCE, what="it waits behind the other")
        again = json.loads(cast("list[bytes]", client.lrange("normal", 0, 0))[0])
    assert again["headers"]["id"] == f"{lost.id}.2", "in Flower it is a row of its own"
    fleet.open_gate()
    fleet.assert_answered([lost, running, waits], attempts=1)
    assert [fleet.publications(one) for one in (running, waits)] == [1, 1]


def test_a_copy_from_the_queue_that_a_request_has_left_says_nothing_of_the_one_that_it_went_to(
    fleet: Fleet, runtime: Runtime
) -> None:
    waits, older, newer = fleet.ask(user_id="ada"), fleet.ask(user_id="bob", priority="batch"), fleet.ask(user_id="eve")
    published_ago(fleet, waits, 600)
    fleet.rows("UPDATE requests SET accepted_at = now() - interval '1 hour' WHERE id = %s RETURNING id", older.id)
    (moved,) = recover.aged(fleet.database, ageing=2400)
    assert (str(moved.id), moved.queue, moved.number) == (older.id, Priority.normal, 2)

    def missed_after(handle: Handle, number: int) -> list[str]:
        """What recovery takes for lost once that message has led to an answer."""
        assert runtime.answer(UUID(handle.id), number).ending is not None
        runtime._heart.beat()
        return [str(one.id) for one in recover.lost(fleet.database, grace=GRACE, empty_queues=[])]

    assert missed_after(older, 1) == [], "the queue that it has left was before all of the other"
    assert missed_after(newer, 1) == [waits.id]


def test_the_furthest_of_a_queues_claims_counts_in_whichever_order_they_are_noted(
    fleet: Fleet, runtime: Runtime
) -> None:
    lost = fleet.ask()
    published_ago(fleet, lost, 600)
    now = fleet.scalar("SELECT now()")
    for published_at in (now, now - timedelta(hours=1)):
        runtime._heart.claimed(Priority.normal, published_at)
    runtime._heart.beat()
    assert [str(one.id) for one in recover.lost(fleet.database, grace=GRACE, empty_queues=[])] == [lost.id]


def published_ago(fleet: Fleet, handle: Handle, seconds: float) -> None:
    """Let it have become due, and have been published, that long ago."""
    fleet.rows(
        "UPDATE requests SET due_at = now() - %s * interval '1 second',"
        " published_at = now() - %s * interval '1 second' WHERE id = %s RETURNING id",
        *(seconds, seconds, handle.id),
    )
