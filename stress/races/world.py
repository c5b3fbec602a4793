"""What the threads have in common: the real ledger, broker and storage, and what is known of each request."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import redis

from pipeline import broker
from pipeline.archive.archiver import Archiver
from pipeline.archive.storage import open_storage
from pipeline.archive.summary import Extractive
from pipeline.courier import Courier
from pipeline.erasure import Eraser
from pipeline.schemas import Priority
from pipeline.settings import Settings
from pipeline.store.archives import Rules
from pipeline.store.database import Database
from pipeline.store.erasures import Scope
from pipeline.store.ledger import Claim, workers
from pipeline.transport import wire
from pipeline.worker.recovery import Recovery

#: Seconds: everything that the ledger waits for comes to pass within a run.
SHORT = {
    "lease": 1.0,
    "heartbeat": 0.2,
    "retry_initial_delay": 1,
    "retry_max_delay": 1,
    "ageing": 2.0,
    "redelivery_grace": 5.0,
}

#: Messages of a session: few enough that each is archived several times.
FEW = {"max_messages_in_memory": 4, "recent_context_window": 2, "archive_threshold": 4, "restore_grace_hours": 0.0001}

#: Seconds for which a worker lives that is not to die.
LONG = 3600.0


class Remembering(Courier):
    """Which outcomes it was to tell, how often, and which requests it was to interrupt."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        super().__init__(settings, client)
        self.told: Counter[UUID] = Counter()
        self.interrupted: set[UUID] = set()
        self._told_lock = threading.Lock()

    def tell(self, outcomes: Mapping[str, Sequence[UUID]]) -> None:
        with self._told_lock:
            self.told.update(id_ for ids in outcomes.values() for id_ in ids)
        super().tell(outcomes)

    def interrupt(self, running: Sequence[tuple[UUID, UUID]]) -> None:
        self.interrupted.update(request_id for request_id, _ in running)
        super().interrupt(running)


@dataclass(frozen=True, slots=True)
class Kept:
    """A request that was said to be stored: whose it is, and when that was asked for."""

    scope: Scope
    asked_at: float


@dataclass
class World:
    """One set of servers, and what the threads know together."""

    settings: Settings
    database: Database
    client: redis.Redis
    courier: Remembering
    eraser: Eraser
    archiver: Archiver
    recovery: Recovery
    users: int
    #: By id, and the erasures with the moment at which each was done.
    accepted: dict[UUID, Kept] = field(default_factory=dict)
    erasures: list[tuple[Scope, float]] = field(default_factory=list)
    #: What runs, and what ran once and may still want to end. Appending and popping need no lock.
    running: deque[Claim] = field(default_factory=deque)
    stale: deque[Claim] = field(default_factory=lambda: deque(maxlen=50))

    def worker(self, lease: float = LONG) -> UUID:
        """One more worker."""
        id_ = uuid4()
        workers.register(self.database, id_, name="racer", pid=os.getpid(), lease=lease)
        return id_

    def deliver(self, most: int) -> list[UUID]:
        """Take messages from the broker, as a worker does: the most urgent first."""
        for priority in Priority:
            entries = cast("list[bytes] | None", self.client.rpop(priority.name, most))
            if entries:
                return [_request(entry) for entry in entries]
        return []

    def may_be_erased(self, kept: Kept) -> bool:
        """Whether an erasure of it was under way when it was asked for, or later."""
        return any(_within(kept.scope, scope) and done_at >= kept.asked_at for scope, done_at in list(self.erasures))


def _within(whose: Scope, scope: Scope) -> bool:
    return whose.user_id == scope.user_id and scope.conversation_id in (None, whose.conversation_id)


def _request(entry: bytes) -> UUID:
    return UUID(wire.decode(entry)["headers"]["id"].partition(".")[0])


@contextmanager
def world(database_url: str, broker_url: str, folder: Path, *, threads: int, users: int) -> Iterator[World]:
    """All parts, over these servers."""
    given = {"database_url": database_url, "broker_url": broker_url, "cold_storage_url": str(folder), **SHORT, **FEW}
    settings = Settings.model_validate(given)
    database = Database(database_url, size=threads + 4, wait=30)
    client = broker.connect(broker_url, threads + 4)
    courier = Remembering(settings, client)
    storage = open_storage(str(folder))
    archiver = Archiver(database, storage, Extractive(), Rules.from_settings(settings))
    try:
        yield World(
            settings,
            database,
            client,
            courier,
            Eraser(database, lambda: storage, courier, client, settings),
            archiver,
            Recovery(database, courier, settings, steady_for=lambda: LONG),
            users,
        )
    finally:
        archiver.close()
        courier.close()
        client.close()
        database.close()
