"""A long queue is not a lost one."""

from __future__ import annotations

import time

import redis

from pipeline import Handle
from tests.faults.conftest import MakeFleet
from tests.fleet import PATIENCE
from tests.servers import Broker, eventually

QUEUED = 5000


def test_five_thousand_queued_are_each_published_once_as_long_as_the_broker_keeps_them(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=2)
    fleet.may_leave_unfinished = True
    accepted = fleet.client.submit_many(
        [
            {
                "text": "a question",
                "user_id": f"user {number}",
                "conversation_id": "only",
                "agent": "wait",
                "metadata": {"seconds": 0.2},
                "priority": ("urgent", "normal", "batch")[number % 3],
            }
            for number in range(QUEUED)
        ]
    )
    assert all(isinstance(one, Handle) for one in accepted)
    began = time.monotonic()
    fleet.start(2)
    done = "SELECT count(*) FROM requests WHERE finished_at IS NOT NULL"
    long = 3 * fleet.settings.redelivery_grace
    eventually(lambda: time.monotonic() - began > long and fleet.scalar(done) > 50, PATIENCE, what="they are at work")
    assert fleet.scalar("SELECT max(publications) FROM requests") == 1
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        waiting = sum(int(client.llen(queue)) for queue in ("urgent", "normal", "batch"))
    assert waiting < QUEUED
    assert fleet.scalar("SELECT count(*) FROM requests") == QUEUED
