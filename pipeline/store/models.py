"""The tables, as SQLAlchemy sees them. Triggers and their reasons stand in the first migration."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pipeline.schemas import OUTCOMES, Status

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

_FINAL = ", ".join(f"'{status}'" for status in sorted(OUTCOMES))
_ANY = ", ".join(f"'{status}'" for status in Status)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {
        str: Text,
        int: BigInteger,
        float: Double,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[datetime | None]: ARRAY(DateTime(timezone=True)),
    }


class User(Base):
    """Whoever sends requests. Its row is the lock under which that user's requests are accepted and handed on."""

    __tablename__ = "users"

    user_id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Session(Base):
    """One conversation of one user."""

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("user_id", "conversation_id"),
        CheckConstraint("archived_through BETWEEN 0 AND last_number", name="archived_through_known"),
        # Neither column changes with each turn, so that an append stays a heap-only update.
        Index("ix_sessions_grown_at", "grown_at", postgresql_where=text("grown_at IS NOT NULL")),
        Index("ix_sessions_oldest_hot_at", "oldest_hot_at", postgresql_where=text("oldest_hot_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"))
    conversation_id: Mapped[str]
    #: Requests accepted so far; the next one's position less one.
    accepted: Mapped[int] = mapped_column(server_default="0")
    #: The number of its newest message. Kept by trigger.
    last_number: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_active_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: The number of its newest archived message; those after it are hot. Kept by trigger.
    archived_through: Mapped[int] = mapped_column(server_default="0")
    #: When its oldest hot message came.
    oldest_hot_at: Mapped[datetime | None]
    #: When it grew first since the sweep has last found nothing to do. Set by trigger.
    grown_at: Mapped[datetime | None]
    #: Until when what was restored stays hot.
    restored_until: Mapped[datetime | None]


class Request(Base):
    """One message of a user to an agent, from acceptance to outcome."""

    __tablename__ = "requests"
    __table_args__ = (
        UniqueConstraint("session_id", "position"),
        CheckConstraint(f"status IN ({_ANY})", name="status_known"),
        CheckConstraint(f"(finished_at IS NOT NULL) = (status IN ({_FINAL}))", name="final_means_finished"),
        CheckConstraint("NOT (head AND finished_at IS NOT NULL)", name="head_is_unfinished"),
        CheckConstraint("status <> 'running' OR (head AND worker_id IS NOT NULL)", name="only_a_head_runs"),
        CheckConstraint("attempts <= max_attempts", name="attempts_bounded"),
        # With only_a_head_runs: one running request a session. It looks at `head`, not at the status, so that
        # a claim changes no indexed column and stays a heap-only update.
        Index("uq_requests_head", "session_id", unique=True, postgresql_where=text("head")),
        Index(
            "uq_requests_idempotency_key",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "uq_requests_live_replay",
            "retry_of",
            unique=True,
            postgresql_where=text("retry_of IS NOT NULL AND finished_at IS NULL"),
        ),
        Index("ix_requests_published", "user_id", postgresql_where=text("head AND published_at IS NOT NULL")),
        Index(
            "ix_requests_waiting",
            "user_id",
            "rank",
            "accepted_at",
            postgresql_where=text("head AND published_at IS NULL"),
        ),
        # What is left of a session, in its order.
        Index("ix_requests_unfinished", "session_id", "position", postgresql_where=text("finished_at IS NULL")),
        Index("ix_requests_deadline", "deadline", postgresql_where=text("finished_at IS NULL")),
        # Counted from the index alone. Its entries are written by ends, which move other partial indexes anyway.
        # That is why it has a column of its own: indexed, `status` would change with each claim.
        Index("ix_requests_outcome", "outcome", postgresql_where=text("outcome IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"))
    user_id: Mapped[str]
    #: 1, 2, 3 … in the order of acceptance within the session.
    position: Mapped[int]
    agent: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    #: The priority in force: its own, or the highest that waits behind it, or a class higher for each while it waited.
    rank: Mapped[int] = mapped_column(SmallInteger)
    #: Written and read by nobody: kept while workers of the release before may be at work.
    aged: Mapped[bool] = mapped_column(server_default=text("false"))
    #: The user's message; gone once it is in the history.
    text: Mapped[str | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata")
    idempotency_key: Mapped[str | None]
    content_hash: Mapped[bytes | None]
    #: The client process that is told of the outcome.
    origin: Mapped[str]
    #: The trace it belongs to, as W3C's `traceparent`.
    traceparent: Mapped[str | None]
    stream_key: Mapped[bytes]
    retry_of: Mapped[UUID | None]

    status: Mapped[str] = mapped_column(server_default="queued")
    #: The first unfinished one of its session: the only one that may be published, and run.
    head: Mapped[bool]
    fence: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    #: Seconds for one attempt.
    timeout: Mapped[float]
    worker_id: Mapped[UUID | None]

    accepted_at: Mapped[datetime]
    deadline: Mapped[datetime]
    due_at: Mapped[datetime]
    #: When it was last given to the broker; None while it waits in the ledger alone.
    published_at: Mapped[datetime | None]
    queue: Mapped[int | None] = mapped_column(SmallInteger)
    publications: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    run_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    #: The final status, kept by Postgres; None while there is none.
    outcome: Mapped[str | None] = mapped_column(
        Computed("CASE WHEN finished_at IS NOT NULL THEN status END", persisted=True)
    )
    reason: Mapped[str | None]
    #: When the next request of its session asked for it to stop.
    interrupted_at: Mapped[datetime | None]


class Attempt(Base):
    """One try of a worker at a request, written when it ends."""

    __tablename__ = "attempts"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    fence: Mapped[int]
    worker_id: Mapped[UUID]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    #: `succeeded`, `retried`, `failed`, `cancelled` or `expired`.
    outcome: Mapped[str]
    reason: Mapped[str | None]
    #: An agent's traceback; never what a provider said.
    error: Mapped[str | None]
    #: Seconds until the next attempt.
    delay: Mapped[float | None]


class Call(Base):
    """One call of a provider within an attempt, those of an attempt that lost its claim included."""

    __tablename__ = "calls"
    __table_args__ = (Index(None, "request_id"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"))
    attempt: Mapped[int] = mapped_column(SmallInteger)
    fence: Mapped[int]
    provider: Mapped[str]
    model: Mapped[str]
    started_at: Mapped[datetime]
    first_token_at: Mapped[datetime | None]
    finished_at: Mapped[datetime]
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    reason: Mapped[str | None]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cost: Mapped[float | None]
    #: Why this provider.
    choice: Mapped[str]


class Spending(Base):
    """The money that calls of a provider took on a UTC day, in shards that are added to side by side."""

    __tablename__ = "spending"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    day: Mapped[date] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    cost: Mapped[float]


class Message(Base):
    """One entry of a session's history. `part` numbers those of one request; requests may be forgotten first."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("request_id", "part"),
        CheckConstraint("number > 0", name="number_from_one"),
        CheckConstraint("role IN ('system', 'user', 'assistant', 'tool')", name="role_known"),
    )

    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[UUID]
    part: Mapped[int] = mapped_column(SmallInteger)
    role: Mapped[str]
    content: Mapped[str]
    tool_calls: Mapped[list[Any] | None]
    tool_call_id: Mapped[str | None]
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Worker(Base):
    """One worker process, and until when it counts as alive."""

    __tablename__ = "workers"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    pid: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime]
    #: A digest of each setting that all workers should share, by its name; never a value.
    settings: Mapped[dict[str, Any] | None]
    #: By queue, the newest publication it has claimed: what was published long before that was lost.
    claimed_through: Mapped[list[datetime | None]]
