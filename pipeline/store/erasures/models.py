"""The tables of erasures and of objects that are to go, as SQLAlchemy sees them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.store.models import Base


class Erasure(Base):
    """What was erased, or is being: the receipt. Nobody can be recognised by it who is not known already.

    Its stages: `rows` of the sessions in Postgres, `traces` elsewhere (objects, streams), `done`.
    """

    __tablename__ = "erasures"
    __table_args__ = (
        CheckConstraint("scope IN ('session', 'user')", name="scope_known"),
        CheckConstraint("stage IN ('rows', 'traces', 'done')", name="stage_known"),
        CheckConstraint("(scope = 'session') = (conversation_hash IS NOT NULL)", name="hashed_by_scope"),
        CheckConstraint("(stage = 'done') = (finished_at IS NOT NULL)", name="done_means_finished"),
        CheckConstraint("stage = 'rows' OR sessions = '{}'", name="rows_first"),
        CheckConstraint("stage <> 'done' OR streams = '{}'", name="streams_before_done"),
        Index("ix_erasures_next_try_at", "next_try_at", postgresql_where=text("finished_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str]
    #: Random, so that the same id has another hash in each receipt.
    salt: Mapped[bytes]
    user_hash: Mapped[bytes]
    conversation_hash: Mapped[bytes | None]
    #: Those to be erased, until all of them are.
    sessions: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    #: Requests whose streams are still to be removed from the broker.
    streams: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    stage: Mapped[str] = mapped_column(server_default="rows")
    begun_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(server_default="0")
    #: While unfinished: nobody else works on it before.
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now())

    session_count: Mapped[int] = mapped_column(server_default="0")
    #: Messages in all, and how many of them were in archives.
    message_count: Mapped[int] = mapped_column(server_default="0")
    archived_count: Mapped[int] = mapped_column(server_default="0")
    archive_count: Mapped[int] = mapped_column(server_default="0")
    summary_count: Mapped[int] = mapped_column(server_default="0")
    #: Requests in all, and how many of them had no outcome yet.
    request_count: Mapped[int] = mapped_column(server_default="0")
    cancelled_count: Mapped[int] = mapped_column(server_default="0")
    attempt_count: Mapped[int] = mapped_column(server_default="0")
    call_count: Mapped[int] = mapped_column(server_default="0")


class CondemnedObject(Base):
    """An object in cold storage that nothing refers to any more, until it is gone."""

    __tablename__ = "condemned_objects"
    __table_args__ = (
        Index("ix_condemned_objects_due_at", "due_at"),
        Index("ix_condemned_objects_erasure_id", "erasure_id"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    #: None where its archive has expired.
    erasure_id: Mapped[UUID | None] = mapped_column(ForeignKey("erasures.id"))
    #: When it is to be removed, once more where it was before.
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: Until then somebody may be writing it who does not know yet that it is not wanted.
    written_until: Mapped[datetime] = mapped_column(server_default=func.now())
    failures: Mapped[int] = mapped_column(server_default="0")
