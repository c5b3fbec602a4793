"""The courier: what the broker carries for us. Nothing here is needed for an answer, so nothing here raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID, uuid4

import redis
import structlog

from pipeline import notices, signals
from pipeline.errors import BrokerUnavailable
from pipeline.schemas import Json, Priority
from pipeline.settings import Settings
from pipeline.store.ledger.records import Publication
from pipeline.transport.publish import Publisher
from pipeline.transport.wire import TaskMessage

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: The task that answers a request.
ANSWER = "pipeline.answer"

#: The task that archives sessions, and its queue.
ARCHIVE, ARCHIVE_QUEUE = "pipeline.archive", "archive"

#: Seconds for which nothing is sent after the broker failed: whoever hands something over should not wait for it
#: one after the other. What is not sent is found by recovery, or by a look into Postgres.
PAUSE = 1.0


class Courier:
    """Publishes requests, tells outcomes, passes on cancellations. Safe to use from any thread."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._publisher = Publisher(settings.broker, settings.broker_timeout)
        self._client = client
        self._away_until = 0.0
        self._lock = threading.Lock()

    def carry(self, publications: Sequence[Publication]) -> None:
        """Give requests to the broker. What cannot be given is left to recovery."""
        if publications:
            self.attempt("publish", lambda: self._publisher.publish([_message(one) for one in publications]))

    def tell(self, outcomes: Mapping[str, Sequence[UUID]]) -> None:
        """Tell client processes that requests have ended. Those that cannot be told look into Postgres."""
        if outcomes:
            by_channel = {
                notices.outcomes_channel(origin): [str(id_) for id_ in ids] for origin, ids in outcomes.items()
            }
            self.attempt("notice", lambda: notices.publish(self._client, by_channel))

    def archive(self, handfuls: Sequence[Sequence[int]]) -> None:
        """Have sessions archived, each handful by one worker. What cannot be handed out is found by the sweep."""
        if messages := [_archiving(session_ids) for session_ids in handfuls if session_ids]:
            self.attempt("archive", lambda: self._publisher.publish(messages))

    def waiting_to_archive(self) -> int:
        """Messages in the queue of archiving; none when the broker does not say, for it would not take more either."""
        try:
            return int(self._client.llen(ARCHIVE_QUEUE))
        except redis.RedisError as fault:
            self._failed("look", fault)
            return 0

    def cancel(self, worker: UUID, request_id: UUID) -> None:
        """Tell a worker that a request it runs is cancelled. One that cannot be told learns it by its heartbeat."""
        by_channel = {notices.control_channel(str(worker)): [str(request_id)]}
        self.attempt("cancel", lambda: notices.publish(self._client, by_channel))

    def interrupt(self, running: Sequence[tuple[UUID, UUID]]) -> None:
        """Tell workers to stop requests, as (request, worker), and to keep the text so far. Where a worker cannot
        be told, recovery ends the request without."""
        by_channel: dict[str, list[str]] = {}
        for request_id, worker in running:
            by_channel.setdefault(notices.interrupts_channel(str(worker)), []).append(str(request_id))
        if by_channel:
            self.attempt("interrupt", lambda: notices.publish(self._client, by_channel))

    def empty_queues(self) -> list[int]:
        """The priorities whose queue holds no message. Raises BrokerUnavailable."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for priority in Priority:
                    pipe.llen(priority.name)
                return [priority for priority, length in zip(Priority, pipe.execute(), strict=True) if not length]
        except redis.RedisError as fault:
            self._failed("look", fault)
            raise BrokerUnavailable from fault

    def close(self) -> None:
        """Close what it publishes by; the client is its owner's."""
        self._publisher.close()

    def attempt(self, operation: str, verb: Callable[[], T]) -> T | None:
        """What the broker says; None while it is away, which is counted."""
        if time.monotonic() < self._away_until:
            signals.broker_failed(operation)
            return None
        try:
            return verb()
        except (redis.RedisError, BrokerUnavailable, OSError) as fault:
            self._failed(operation, fault)
            return None

    def _failed(self, operation: str, fault: Exception) -> None:
        signals.broker_failed(operation)
        with self._lock:
            first = time.monotonic() >= self._away_until
            self._away_until = time.monotonic() + PAUSE
        if first:
            log.warning("broker_unavailable", operation=operation, error=type(fault).__name__)


def _message(publication: Publication) -> TaskMessage:
    id_ = str(publication.id)
    return TaskMessage(
        task=ANSWER,
        # a request that is published again is another row in Flower, found by the same id
        id=id_ if publication.number == 1 else f"{id_}.{publication.number}",
        args=(id_, publication.number),
        argsrepr=f"({id_!r}, {publication.number})",
        queue=Priority(publication.queue).name,
        kwargsrepr=f"user={publication.user_id!r}, conversation={publication.conversation_id!r}",
        traceparent=publication.traceparent,
    )


def _archiving(session_ids: Sequence[int]) -> TaskMessage:
    ids: list[Json] = list(session_ids)
    return TaskMessage(
        task=ARCHIVE, id=str(uuid4()), args=(ids,), argsrepr=f"({len(ids)} session(s))", queue=ARCHIVE_QUEUE
    )
