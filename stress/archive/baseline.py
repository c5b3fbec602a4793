"""The baseline: what one would write first. One session at a time: its messages through the ORM, the same document,
one object, one bulk delete, one commit. It reads nothing back, sums nothing up and keeps no row of what is where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as OrmSession

from pipeline.archive.document import serialize
from pipeline.archive.names import object_name
from pipeline.archive.storage import Storage
from pipeline.store.archives import Pending
from pipeline.store.database import Database
from pipeline.store.models import Message, Session


def archive(database: Database, storage: Storage, session_ids: Sequence[int], window: int) -> int:
    """Archive all but the newest `window` messages of each session. Returns how many messages that were."""
    return sum(_archive(database, storage, id_, window) for id_ in session_ids)


def _archive(database: Database, storage: Storage, id_: int, window: int) -> int:
    with OrmSession(database.engine) as orm, orm.begin():
        session = orm.get_one(Session, id_)
        rows = orm.scalars(
            select(Message)
            .where(Message.session_id == id_, Message.number <= session.last_number - window)
            .order_by(Message.number)
        ).all()
        pending = _described(session, rows)
        storage.put(pending.name, serialize(pending, json.dumps([_entry(row) for row in rows])))
        orm.execute(delete(Message).where(Message.session_id == id_, Message.number <= pending.last_number))
        orm.execute(update(Session).where(Session.id == id_).values(archived_through=pending.last_number))
    return len(rows)


def _described(session: Session, rows: Sequence[Message]) -> Pending:
    now = datetime.now(UTC)
    tokens = sum((len(row.content) + 3) // 4 for row in rows)
    name = object_name(session.user_id, session.conversation_id, now, "zstd")
    return Pending(
        id=0,
        session_id=session.id,
        user_id=session.user_id,
        conversation_id=session.conversation_id,
        name=name,
        first_number=rows[0].number,
        last_number=rows[-1].number,
        message_count=len(rows),
        token_count=tokens,
        oldest_at=rows[0].created_at,
        newest_at=rows[-1].created_at,
        archived_at=now,
        failures=0,
        session_since=session.created_at,
        size=0,
        more=False,
    )


def _entry(row: Message) -> dict[str, Any]:
    return {
        "number": row.number,
        "role": row.role,
        "content": row.content,
        "created_at": row.created_at.isoformat(),
        "request_id": str(row.request_id),
        "part": row.part,
        "tool_calls": row.tool_calls,
        "tool_call_id": row.tool_call_id,
        "metadata": row.metadata_,
    }
