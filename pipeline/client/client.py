"""The client: hand a request over and forget about it, or wait for its answer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import redis
import redis.asyncio

from pipeline import agents, broker, journal, logs, notices, signals, tracing
from pipeline.admission import Gate
from pipeline.archive import reading
from pipeline.archive.storage import Storage, open_storage
from pipeline.client.acceptance import Acceptance, batches
from pipeline.client.asynchronous import Asynchronous
from pipeline.client.cancelling import cancel
from pipeline.client.erasing import Erasing
from pipeline.client.handle import Handle
from pipeline.client.others import Others
from pipeline.client.replaying import Replaying
from pipeline.client.submission import Rules
from pipeline.client.waiting import Waiting
from pipeline.courier import Courier
from pipeline.erasure import Eraser
from pipeline.errors import ClientClosed, IdempotencyConflict, InvalidRequest, PipelineError, RequestNotFound
from pipeline.once import once
from pipeline.schemas import Message
from pipeline.settings import Settings, current
from pipeline.store import history
from pipeline.store.database import Database
from pipeline.store.ledger import Accepted, NewRequest, Outcome, rehearse
from pipeline.store.ledger.outcomes import Standing, standing
from pipeline.store.measures import inheritance, users

#: Seconds that a submission waits for the listener to be connected; without it, outcomes are looked up.
FIRST_CONNECTION = 0.5


class Client(Asynchronous, Erasing):
    """Agent code's side of the pipeline. One a process is enough: it is safe to use from any thread and event loop.

    Nothing connects before it is needed. Raises ConfigurationError when neither settings nor a running stack say
    where Postgres and the broker are.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or current()
        logs.adopt(self._settings)
        self._origin = secrets.token_hex(8)
        self._rules = Rules(self._settings, agents.load(self._settings.agents), self._origin)
        pool = self._settings.database_pool_size
        self._database = Database(self._settings.database, size=pool, rehearse=rehearse.accepting, closed=ClientClosed)
        self._labels = users.claiming(self._database, self._settings.metrics_max_users)
        signals.label_users_by(self._labels)
        self.redis: redis.Redis = broker.connect(self._settings.broker, self._settings.broker_timeout)
        self._courier = Courier(self._settings, self.redis)
        self._gate = Gate(self._settings, self.redis, self._courier, self._database)
        concurrency = self._settings.user_concurrency
        self._accept = Acceptance(self._database, self._gate, self._courier, concurrency=concurrency)
        self._replay = Replaying(self._database, self._courier, self._origin, concurrency=concurrency)
        self._tracing = tracing.from_settings(self._settings)
        self._notices = notices.Listener(
            self._settings.broker, self._on_notice, self._on_reconnect, timeout=self._settings.broker_timeout
        )
        self._waiting = Waiting(self._database, poll=self._settings.outcome_poll, is_told=lambda: self._notices.healthy)
        self._others = Others(self._notices, self._waiting.look)
        #: Counts the connections of the listener: within one of them, no notice is missed.
        self._connection = 0
        self._listening = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        text: str,
        *,
        user_id: str,
        conversation_id: str,
        agent: str = "chat",
        priority: str = "normal",
        deadline: float | datetime | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
        on_busy: str = "queue",
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Handle:
        """Hand a message over. Once this returns, the request is kept, and ends in exactly one outcome.

        `deadline` is in seconds from now, or an aware datetime; `timeout`, in seconds, is for one attempt;
        `max_attempts` counts the first one. While the conversation has a request without an outcome, this one waits
        for its turn (`on_busy="queue"`), is refused (`"reject"`), or makes the running one stop and waits for the rest
        (`"interrupt"`).

        Raises InvalidRequest, IdempotencyConflict, SessionBusy, RateLimited or QueueFull, which say when to come
        again, or LedgerUnavailable when Postgres does not answer; then it is best submitted again with an
        idempotency key.
        """
        new = self._rules.check(
            text,
            user_id=user_id,
            conversation_id=conversation_id,
            agent=agent,
            priority=priority,
            deadline=deadline,
            timeout=timeout,
            max_attempts=max_attempts,
            on_busy=on_busy,
            idempotency_key=idempotency_key,
            metadata=metadata,
        )
        return self._submit(new)

    def submit_many(self, requests: Sequence[Mapping[str, Any]]) -> list[Handle | PipelineError]:
        """Hand many over, in their order, in a few round trips; each is what `submit` takes, `text` included.

        Returns for each its handle, or why it was refused.
        """
        results: list[Handle | PipelineError | NewRequest] = [self._checked(request) for request in requests]
        places = iter([index for index, new in enumerate(results) if isinstance(new, NewRequest)])
        since = self._listen()
        for batch in batches([new for new in results if isinstance(new, NewRequest)]):
            with self._tracing.submitting(*batch) as traced:
                results_of_batch = self._accept.many(traced)
            for new, accepted, index in zip(batch, results_of_batch, places):  # noqa: B905 - the places go on
                results[index] = self._handle_or_refusal(new, accepted, since)
        return results  # type: ignore[return-value]  # every NewRequest has been replaced

    def get(self, request_id: str) -> Handle:
        """The handle of a request, in whatever process it was submitted. Raises RequestNotFound."""
        try:
            found = self.standing(UUID(request_id))
        except ValueError:
            raise RequestNotFound(request_id) from None
        return Handle(self, found.id, origin=found.origin, stream_key=found.stream_key, since=None)

    def retry(self, request_id: str) -> Handle:
        """Ask once more what failed, expired or was cancelled: a new request at its conversation's tail, with the
        same text and options, whose `retry_of` is the old one. The limits of `submit` do not apply to it.

        Raises RequestNotFound, or ReplayRefused, which says why: it succeeded, goes on, or is being replayed already.
        """
        (replayed,) = self.retry_many([request_id])
        if isinstance(replayed, PipelineError):
            raise replayed
        return replayed

    def retry_many(self, request_ids: Sequence[str]) -> list[Handle | PipelineError]:
        """`retry` of many, in one round trip. Returns for each its handle, or why it was refused."""
        since = self._listen()
        return [
            one if isinstance(one, PipelineError) else self._handle_of(one, since)
            for one in self._replay.many(request_ids)
        ]

    def history(self, user_id: str, conversation_id: str, *, include_archived: bool = False) -> Iterator[Message]:
        """The conversation's messages, oldest first, as they are read: those that are hot, or with `include_archived`
        all of them. None for a conversation that is not known.

        While archives are read, raises ArchiveDamaged or StorageFailed.
        """
        if not include_archived:
            return history.read(self._database, user_id, conversation_id)
        return reading.messages_of(self._database, self._storage, user_id, conversation_id)

    def close(self) -> None:
        """End the threads and close the connections. Whoever waits for an answer, or comes to ask for anything that
        needs Postgres, is raised ClientClosed."""
        if self._closed or self._database.is_the_parents:
            return
        self._closed = True
        self._waiting.stop()
        self._notices.stop()
        self._gate.close()
        inheritance.leave(self._database)
        signals.label_users_without(self._labels)
        self._database.close()
        # What is under way ends by itself: cut off by another thread, it would raise its caller whatever broke within.
        self.redis.connection_pool.disconnect(inuse_connections=False)
        self._courier.close()
        self._tracing.close()
        self._threads.shutdown(wait=False)

    # -- what handles are made of -------------------------------------------------------------------------------------

    def standing(self, request_id: UUID) -> Standing:
        """Where a request stands. Raises RequestNotFound."""
        return self._database.patiently(lambda: standing(self._database, request_id))

    def cancel(self, request_id: UUID) -> bool:
        """As Handle.cancel."""
        now, concurrency = self.standing(request_id), self._settings.user_concurrency
        return cancel(self._database, self._courier, now, concurrency=concurrency)

    def archived_answer(self, request_id: UUID) -> str:
        """The answer of a request whose messages are not hot any more. Raises AnswerGone, and as `history` does."""
        return self._database.patiently(lambda: reading.answer(self._database, self._storage, request_id))

    def outcome(self, request_id: UUID, origin: str, since: int | None) -> Future[Outcome]:
        """The outcome to come, until `forget`. ClientClosed comes in its place once the client is closed.

        `since` is the listener's connection within which the request was submitted here.
        """
        if origin != self._origin:
            self._others.follow(origin, request_id, self._threads)
        missed = since is None or since != self._connection or not self._notices.healthy
        return self._waiting.outcome(request_id, look_now=missed)

    def forget(self, request_id: UUID, origin: str, future: Future[Outcome]) -> None:
        """Nobody waits on this future any more, which `outcome` has given."""
        if origin != self._origin:
            self._others.leave(origin)
        self._waiting.forget(request_id, future)

    def async_redis(self) -> redis.asyncio.Redis:
        """A connection for one stream of an event loop."""
        return broker.aconnect(self._settings.broker, self._settings.broker_timeout)

    @once
    def _storage(self) -> Storage:
        return open_storage(self._settings.cold_storage)

    @once
    def _eraser(self) -> Eraser:
        return Eraser(self._database, lambda: self._storage, self._courier, self.redis, self._settings)

    def _submit(self, new: NewRequest) -> Handle:
        since = self._listen()
        with self._tracing.submitting(new) as (traced,):
            accepted = self._accept.one(traced)
        journal.accepted(new)
        return self._handle(new, accepted, since)

    def _checked(self, request: Mapping[str, Any]) -> NewRequest | PipelineError:
        try:
            return self._rules.check(**request)
        except InvalidRequest as refusal:
            return refusal
        except TypeError as wrong:
            return InvalidRequest("request", str(wrong).replace("Rules.check()", "submit()"))

    def _handle_or_refusal(
        self, new: NewRequest, accepted: Accepted | PipelineError, since: int
    ) -> Handle | PipelineError:
        if isinstance(accepted, PipelineError):
            return accepted
        try:
            return self._handle(new, accepted, since)
        except IdempotencyConflict as refusal:
            return refusal

    def _handle(self, new: NewRequest, accepted: Accepted, since: int | None) -> Handle:
        if new.idempotency_key is not None and accepted.content_hash != new.content_hash:
            raise IdempotencyConflict(new.idempotency_key, str(accepted.id))
        return self._handle_of(accepted, since if accepted.id == new.id else None)

    def _handle_of(self, accepted: Accepted, since: int | None) -> Handle:
        return Handle(self, accepted.id, origin=accepted.origin, stream_key=accepted.stream_key, since=since)

    def _listen(self) -> int:
        """Be told of outcomes from now on. Returns the connection that they come by."""
        if self._closed:
            raise ClientClosed
        self._database.check_owner()
        if not self._listening:
            self._listening = True
            self._notices.subscribe(notices.outcomes_channel(self._origin), wait=FIRST_CONNECTION)
        return self._connection

    def _on_notice(self, _channel: str, ids: Sequence[str]) -> None:
        self._waiting.tell(UUID(id_) for id_ in ids)

    def _on_reconnect(self) -> None:
        self._connection += 1
        self._waiting.look_again()
