"""The tables of archives and summaries, as SQLAlchemy sees them. Triggers and their reasons stand in the migration."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.store.models import Base

_PENDING = "(status = 'pending')"


class Archive(Base):
    """A run of a session's oldest messages in cold storage, or on its way there.

    `pending` before its object is known to be whole, then `live`; `restored` once its messages are hot again, `expired`
    once they are gone for good.
    """

    __tablename__ = "archives"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'live', 'restored', 'expired')", name="status_known"),
        CheckConstraint("first_number > 0", name="number_from_one"),
        CheckConstraint("message_count > 0 AND message_count = last_number - first_number + 1", name="counted"),
        CheckConstraint(
            f"{_PENDING} = (live_at IS NULL) AND {_PENDING} = (sha256 IS NULL) AND {_PENDING} = (bytes IS NULL)",
            name="live_means_written",
        ),
        Index("uq_archives_pending", "session_id", unique=True, postgresql_where=text("status = 'pending'")),
        Index(
            "uq_archives_live",
            "session_id",
            "last_number",
            unique=True,
            postgresql_where=text("status IN ('live', 'expired')"),
        ),
        Index("ix_archives_session_id", "session_id", "first_number"),
        Index("ix_archives_next_try_at", "next_try_at", postgresql_where=text("status = 'pending'")),
        Index("ix_archives_archived_at", "archived_at", postgresql_where=text("status = 'live'")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"))
    first_number: Mapped[int]
    last_number: Mapped[int]
    message_count: Mapped[int]
    #: Tokens of its messages, estimated.
    token_count: Mapped[int]
    #: When its first and its last message came.
    oldest_at: Mapped[datetime]
    newest_at: Mapped[datetime]
    #: Of its object in cold storage.
    name: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="pending")
    #: When its range was fixed; part of its name and of its document.
    archived_at: Mapped[datetime]
    #: When its object was whole and its messages left the table.
    live_at: Mapped[datetime | None]
    #: Of the object as it is stored.
    sha256: Mapped[bytes | None]
    bytes: Mapped[int | None]
    #: How often writing it failed, and the class of the last error.
    failures: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    #: While pending: nobody else works on it before.
    next_try_at: Mapped[datetime]


class Summary(Base):
    """What a model is told about the part of a session that it no longer sees."""

    __tablename__ = "summaries"
    __table_args__ = (CheckConstraint("0 < first_number AND first_number <= through_number", name="range"),)

    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    first_number: Mapped[int]
    through_number: Mapped[int]
    text: Mapped[str]
    #: The summariser: `extractive`, or the name of a provider.
    by: Mapped[str]
    #: Estimated.
    tokens: Mapped[int]
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())
