"""What operators ask: requests with their attempts and calls, and sessions, read through the models."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import errors as postgres
from sqlalchemy import ColumnElement, RowMapping, Select, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.orm import aliased

from pipeline.errors import ConfigurationError, LedgerUnavailable, RequestNotFound
from pipeline.schemas import Priority, Status
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.store.models import Attempt, Call, Message, Request, Session, Worker


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """One request without what was said. `worker` is the name of the one that claimed it last, if still known."""

    id: UUID
    user_id: str
    conversation_id: str
    position: int
    agent: str
    priority: str
    status: Status
    reason: str | None
    attempts: int
    max_attempts: int
    accepted_at: datetime
    deadline: datetime
    due_at: datetime
    started_at: datetime | None
    claimed_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    worker_pid: int | None


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One attempt that has ended. `delay` is in seconds; `error` is an agent's traceback."""

    number: int
    worker: str | None
    started_at: datetime
    finished_at: datetime
    outcome: str
    reason: str | None
    delay: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class CallFacts:
    """One call of a provider."""

    attempt: int
    provider: str
    model: str
    started_at: datetime
    first_token_at: datetime | None
    finished_at: datetime
    status_code: int | None
    reason: str | None
    input_tokens: int
    output_tokens: int
    cost: float | None
    choice: str


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One conversation; `messages` and `requests` count those of its whole life."""

    id: int
    user_id: str
    conversation_id: str
    messages: int
    requests: int
    created_at: datetime
    last_active_at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests are meant: of any of these statuses, of this user, ended for this reason, having called this
    provider, and accepted from `since` on, before `until`. What is not given is no condition."""

    statuses: Collection[Status] = ()
    user_id: str | None = None
    reason: str | None = None
    provider: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """For a query of requests."""
        if self.statuses:
            yield Request.status.in_([status.value for status in self.statuses])
        if self.user_id is not None:
            yield Request.user_id == self.user_id
        if self.reason is not None:
            yield Request.reason == self.reason
        if self.provider is not None:
            yield select(Call.id).where(Call.request_id == Request.id, Call.provider == self.provider).exists()
        if self.since is not None:
            yield Request.accepted_at >= self.since
        if self.until is not None:
            yield Request.accepted_at < self.until


def requests(database: Database, wanted: Wanted, *, limit: int = 20) -> list[RequestFacts]:
    """The newest requests of those that are wanted."""
    query = _requests().where(*wanted.conditions()).order_by(Request.id.desc()).limit(limit)  # ids are time-ordered
    with _reading(database) as session:
        return [_request(row) for row in session.execute(query).mappings()]


def dead_letters(database: Database, wanted: Wanted) -> list[str]:
    """Ids of those that are wanted and were not replayed yet, oldest first.

    A replay that failed is one of them itself, so that nothing is asked again twice.
    """
    again = aliased(Request)
    untried = ~select(again.id).where(again.retry_of == Request.id).exists()
    query = select(Request.id).where(*wanted.conditions(), untried).order_by(Request.id)
    with _reading(database) as session:
        return [str(id_) for id_ in session.scalars(query)]


def request(database: Database, id_: UUID) -> RequestFacts:
    """One request. Raises RequestNotFound."""
    with _reading(database) as session:
        row = session.execute(_requests().where(Request.id == id_)).mappings().one_or_none()
    if row is None:
        raise RequestNotFound(str(id_))
    return _request(row)


def said(database: Database, id_: UUID) -> list[tuple[str, str]]:
    """What was said for a request, as role and content: its messages when it is answered, else the user's text."""
    query = select(Message.role, Message.content).where(Message.request_id == id_).order_by(Message.part)
    with _reading(database) as session:
        if messages := [(role, content) for role, content in session.execute(query)]:
            return messages
        text = session.scalar(select(Request.text).where(Request.id == id_))
        return [] if text is None else [("user", text)]


def attempts(database: Database, id_: UUID) -> list[AttemptFacts]:
    """The attempts at a request that have ended, oldest first."""
    columns = (Attempt.started_at, Attempt.finished_at, Attempt.outcome, Attempt.reason, Attempt.delay, Attempt.error)
    query = (
        select(Attempt.number, Worker.name, *columns)
        .outerjoin(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.request_id == id_)
        .order_by(Attempt.number)
    )
    with _reading(database) as session:
        return [AttemptFacts(*row) for row in session.execute(query)]


def calls(database: Database, id_: UUID) -> list[CallFacts]:
    """The calls of providers for a request, oldest first."""
    columns = (getattr(Call, name) for name in CallFacts.__slots__)
    query = select(*columns).where(Call.request_id == id_).order_by(Call.id)
    with _reading(database) as session:
        return [CallFacts(*row) for row in session.execute(query)]


def sessions(
    database: Database, *, user_id: str | None = None, conversation_id: str | None = None, limit: int = 20
) -> list[SessionFacts]:
    """The conversations that were active last."""
    columns = (Session.last_number, Session.accepted, Session.created_at, Session.last_active_at)
    query = select(Session.id, Session.user_id, Session.conversation_id, *columns)
    if user_id is not None:
        query = query.where(Session.user_id == user_id)
    if conversation_id is not None:
        query = query.where(Session.conversation_id == conversation_id)
    query = query.order_by(Session.last_active_at.desc(), Session.id.desc()).limit(limit)
    with _reading(database) as session:
        return [SessionFacts(*row) for row in session.execute(query)]


def _requests() -> Select[Any]:
    """The columns of RequestFacts, in its order."""
    found = {
        "conversation_id": Session.conversation_id,
        "worker": Worker.name.label("worker"),
        "worker_pid": Worker.pid.label("worker_pid"),
    }
    columns = (found[name] if name in found else getattr(Request, name) for name in RequestFacts.__slots__)
    return (
        select(*columns)
        .join(Session, Session.id == Request.session_id)
        .outerjoin(Worker, Worker.id == Request.worker_id)
        .select_from(Request)
    )


def _request(row: RowMapping) -> RequestFacts:
    return RequestFacts(**{**row, "priority": Priority(row["priority"]).name, "status": Status(row["status"])})


@contextmanager
def _reading(database: Database) -> Iterator[OrmSession]:
    """Raises LedgerUnavailable, or ConfigurationError where the tables are not those of this version."""
    try:
        with OrmSession(database.engine) as session:
            yield session
    except DBAPIError as fault:
        if isinstance(fault.orig, (postgres.UndefinedTable, postgres.UndefinedColumn)):
            raise ConfigurationError("The database lacks this version's tables: run `pipeline db upgrade`") from fault
        if isinstance(fault.orig, UNAVAILABLE):
            raise LedgerUnavailable from fault
        raise
    except UNAVAILABLE as fault:
        raise LedgerUnavailable from fault
