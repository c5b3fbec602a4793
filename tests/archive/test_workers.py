"""Archiving by real workers: right after the turn that leaves too much, or by the sweep when that was lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from pipeline.store import invariants
from pipeline.transport.wire import TaskMessage, encode
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

#: More than six hot messages are too many; two stay.
SETTINGS: dict[str, Any] = {"max_messages_in_memory": 6, "recent_context_window": 2, "archive_threshold": 6}

UPKEEP = ("-Q", "archive,maintenance", "-c", "4")


@pytest.fixture
def fleet(database: str, broker: Broker, tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(tmp_path, database, broker.url, **SETTINGS)
    yield one
    try:
        one.verify()
    finally:
        one.close()


def sweep(fleet: Fleet) -> None:
    """What beat does every minute."""
    with redis.Redis.from_url(fleet.settings.broker) as client:
        message = TaskMessage(task="pipeline.archive_sweep", id=str(uuid4()), queue="archive")
        client.lpush("archive", encode(message, "test"))


def archived(fleet: Fleet) -> int:
    return int(fleet.scalar("SELECT coalesce(sum(archived_through), 0)::int FROM sessions"))


def history(fleet: Fleet, conversation: str = "only") -> list[str]:
    return [one.content for one in fleet.client.history("ada", conversation, include_archived=True)]


def test_a_conversation_is_archived_right_after_the_turn_and_goes_on(fleet: Fleet) -> None:
    fleet.start(1)
    fleet.start(1, *UPKEEP)
    for number in range(3):
        fleet.ask(f"message {number}").result(PATIENCE)
    assert archived(fleet) == 0
    fleet.ask("message 3").result(PATIENCE)
    eventually(lambda: archived(fleet) == 6, PATIENCE, what="the session is archived")
    said = [text for number in range(4) for text in (f"message {number}", f"answer to message {number}")]
    assert history(fleet) == said
    assert len(list((fleet.folder / "archives").iterdir())) == 1
    fleet.assert_answered([fleet.ask("message 4")])
    assert fleet.scalar("SELECT text FROM summaries").startswith("user: message 0")
    assert invariants.check(fleet.database) == []


def test_what_the_broker_lost_the_sweep_finds(fleet: Fleet, broker: Broker) -> None:
    fleet.start(1)
    for number in range(4):
        fleet.ask(f"message {number}").result(PATIENCE)
    with redis.Redis.from_url(broker.url) as client:
        eventually(lambda: client.llen("archive"), PATIENCE, what="the archivers are told")
    broker.flush()
    fleet.start(1, *UPKEEP)
    assert archived(fleet) == 0
    sweep(fleet)
    eventually(lambda: archived(fleet) == 6, PATIENCE, what="the session is archived")


def test_a_killed_archiver_has_lost_nothing(fleet: Fleet) -> None:
    fleet.start(1)
    (upkeep,) = fleet.start(1, *UPKEEP)
    conversations = [f"c{number}" for number in range(30)]
    handles = [fleet.ask(f"{number}", conversation_id=one) for one in conversations for number in range(4)]
    eventually(lambda: archived(fleet) > 0, PATIENCE, what="archiving has begun")
    fleet.kill(upkeep)
    for handle in handles:
        handle.result(PATIENCE)
    fleet.start(1, *UPKEEP)
    fleet.rows("UPDATE archives SET next_try_at = now() WHERE status = 'pending' RETURNING id")
    sweep(fleet)
    eventually(lambda: archived(fleet) == 6 * len(conversations), PATIENCE, what="all are archived")
    for one in conversations:
        assert len(history(fleet, one)) == 8
    assert fleet.scalar("SELECT count(*) FROM archives WHERE status = 'live'") == len(conversations)
