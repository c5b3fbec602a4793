"""Read: how far a session is archived, where its archives are, and its messages in order, hot or not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from pipeline.errors import SessionNotFound
from pipeline.schemas import Message
from pipeline.store.archives.records import Archive, Passage, Standing, Summary
from pipeline.store.database import Database

STANDING = """
SELECT id, last_number, archived_through, restored_until FROM sessions WHERE user_id = %s AND conversation_id = %s
"""

#: The columns of Archive, in its order.
ARCHIVE = """
    SELECT a.id, a.session_id, s.user_id, s.conversation_id, a.first_number, a.last_number, a.name, a.status, a.sha256,
        a.archived_at
    FROM archives AS a JOIN sessions AS s ON s.id = a.session_id"""

#: One snapshot: whatever is archived or restored at this moment, the next message is in one of the two.
PASSAGE = f"""
SELECT a.*, m.* FROM (SELECT) AS one
LEFT JOIN LATERAL (
    {ARCHIVE} WHERE a.session_id = %(session)s AND a.status IN ('live', 'expired') AND a.last_number > %(after)s
    ORDER BY a.last_number LIMIT 1) AS a ON true
LEFT JOIN LATERAL (
    SELECT role, content, tool_calls, tool_call_id, metadata, number, request_id, created_at FROM messages
    WHERE session_id = %(session)s AND number > %(after)s ORDER BY number LIMIT %(most)s) AS m ON a.id IS NULL
"""  # noqa: S608 - the inserted text is the constant above

LIVE = f"{ARCHIVE} WHERE a.session_id = %s AND a.status = 'live' ORDER BY a.last_number"

#: A request's messages came at its end. Should the clock have been set back, more than one archive may be of that time.
HOLDING = f"""
{ARCHIVE} JOIN requests AS r ON r.session_id = s.id
WHERE r.id = %s AND a.status = 'live' AND r.finished_at BETWEEN a.oldest_at AND a.newest_at ORDER BY a.last_number
"""

SUMMARIES = """
SELECT session_id, text, first_number, through_number, by, tokens FROM summaries WHERE session_id = ANY(%s)
"""

#: How many columns of a passage are its archive's.
_WIDTH = len(Archive.__slots__)


def standing(database: Database, user_id: str, conversation_id: str) -> Standing:
    """How far a session is archived. Raises SessionNotFound."""
    with database.connection() as connection:
        row = connection.execute(STANDING, [user_id, conversation_id]).fetchone()
    if row is None:
        raise SessionNotFound(user_id, conversation_id)
    return Standing(*row)


def passage(database: Database, session_id: int, *, after: int, most: int) -> Passage:
    """What comes after message `after`: hot messages, `most` at most, or the archive that holds the next one."""
    given = {"session": session_id, "after": after, "most": most}
    with database.connection() as connection:
        rows = connection.execute(PASSAGE, given).fetchall()
    if rows[0][0] is not None:
        return Passage(archive=Archive(*rows[0][:_WIDTH]))
    return Passage(messages=tuple(_message(*row[_WIDTH:]) for row in rows if row[_WIDTH] is not None))


def live(database: Database, session_id: int) -> list[Archive]:
    """The archives of a session whose objects are in cold storage, oldest first."""
    with database.connection() as connection:
        return [Archive(*row) for row in connection.execute(LIVE, [session_id])]


def holding(database: Database, request_id: UUID) -> list[Archive]:
    """The live archives that may hold the messages of a request."""
    with database.connection() as connection:
        return [Archive(*row) for row in connection.execute(HOLDING, [request_id])]


def summaries(database: Database, session_ids: Collection[int]) -> dict[int, Summary]:
    """The summaries that there are, by session."""
    with database.connection() as connection:
        return {row[0]: Summary(*row[1:]) for row in connection.execute(SUMMARIES, [list(session_ids)])}


def _message(*row: Any) -> Message:
    role, content, calls, call_id, metadata, number, request_id, created_at = row
    return Message(role, content, tuple(calls or ()), call_id, metadata or {}, number, str(request_id), created_at)
