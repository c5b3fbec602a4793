"""The history: a session's messages, through the models."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session as OrmSession

from pipeline.schemas import Message
from pipeline.store import models
from pipeline.store.database import Database

#: Messages read from Postgres at a time.
PAGE = 200


def read(database: Database, user_id: str, conversation_id: str) -> Iterator[Message]:
    """A session's messages, oldest first, a page at a time: memory stays bounded, and no transaction stays open."""
    newest = 0
    while page := _page(database, user_id, conversation_id, newest):
        yield from page
        newest = page[-1].number or 0


def _page(database: Database, user_id: str, conversation_id: str, after: int) -> list[Message]:
    query = (
        select(models.Message)
        .join(models.Session, models.Session.id == models.Message.session_id)
        .where(models.Session.user_id == user_id, models.Session.conversation_id == conversation_id)
        .where(models.Message.number > after)
        .order_by(models.Message.number)
        .limit(PAGE)
    )
    with OrmSession(database.engine) as session:
        return [_value(row) for row in session.scalars(query)]


def _value(row: models.Message) -> Message:
    return Message(
        role=row.role,  # type: ignore[arg-type]  # the database checks it
        content=row.content,
        tool_calls=tuple(row.tool_calls or ()),
        tool_call_id=row.tool_call_id,
        metadata=row.metadata_ or {},
        number=row.number,
        request_id=str(row.request_id),
        created_at=row.created_at,
    )
