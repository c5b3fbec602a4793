"""Audit: what a look at all archives, or at all of a user's conversations, asks of Postgres, a page at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.store.archives.read import ARCHIVE
from pipeline.store.archives.records import Archive
from pipeline.store.database import Database

#: Rows of a page: archives, sessions.
PAGE = 500

ALL_LIVE = f"{ARCHIVE} WHERE a.status = 'live' AND a.id > %(after)s ORDER BY a.id LIMIT %(most)s"

IS_LIVE = "SELECT FROM archives WHERE id = %s AND status = 'live'"

#: What must be in cold storage, or may still be written; and what is about to be removed.
WANTED = """
SELECT name, status FROM archives WHERE name = ANY(%(names)s) AND status IN ('pending', 'live')
UNION ALL SELECT name, 'condemned' FROM condemned_objects WHERE name = ANY(%(names)s)
"""

#: From the first number on, expired or not, each number is in one archive up to the newest archived one, and hot after.
COMPLETE = """
SELECT s.id, s.user_id, s.conversation_id,
    NOT coalesce(a.gap, false) AND coalesce(a.last, 0) = s.archived_through
    AND coalesce(m.size, 0) = s.last_number - s.archived_through
    AND (m.size = 0 OR m.oldest = s.archived_through + 1 AND m.newest = s.last_number)
FROM (SELECT * FROM sessions WHERE id > %(after)s ORDER BY id LIMIT %(most)s) AS s
LEFT JOIN LATERAL (
    SELECT bool_or(first_number <> before + 1) AS gap, max(last_number) AS last
    FROM (SELECT *, lag(last_number, 1, 0::bigint) OVER (ORDER BY first_number) AS before
          FROM archives WHERE session_id = s.id AND status IN ('live', 'expired')) AS line
) AS a ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS size, min(number) AS oldest, max(number) AS newest FROM messages WHERE session_id = s.id
) AS m ON true
ORDER BY s.id
"""

SESSIONS = """
SELECT id, conversation_id, last_number, created_at FROM sessions
WHERE user_id = %(user)s AND (%(conversation)s::text IS NULL OR conversation_id = %(conversation)s) AND id > %(after)s
ORDER BY id LIMIT %(most)s
"""

#: As the document has them.
ENTRIES = """
SELECT coalesce(json_agg(m), '[]') FROM (
    SELECT number, role, content, created_at, request_id, part, tool_calls, tool_call_id, metadata FROM messages
    WHERE session_id = %(session)s AND number > %(after)s ORDER BY number LIMIT %(most)s) AS m
"""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One session of a user, as it stood when it was looked at."""

    id: int
    conversation_id: str
    last_number: int
    created_at: datetime


def all_live(database: Database) -> Iterator[Archive]:
    """Every archive that is live, in the order of their making."""
    after = 0
    while page := _page(database, ALL_LIVE, {"after": after}):
        yield from (Archive(*row) for row in page)
        after = page[-1][0]


def is_live(database: Database, archive_id: int) -> bool:
    """Whether this archive is live now."""
    with database.connection() as connection:
        return connection.execute(IS_LIVE, [archive_id]).fetchone() is not None


def wanted(database: Database, names: Collection[str]) -> dict[str, str]:
    """Those of these objects that somebody knows of: `pending`, `live` or `condemned`."""
    with database.connection() as connection:
        return dict(connection.execute(WANTED, {"names": list(names)}).fetchall())


def completeness(database: Database) -> Iterator[tuple[str, str, bool]]:
    """Every session, as user and conversation, and whether none of its numbers is missing."""
    after = 0
    while page := _page(database, COMPLETE, {"after": after}):
        yield from (row[1:] for row in page)
        after = page[-1][0]


def conversations(database: Database, user_id: str, conversation_id: str | None = None) -> Iterator[Conversation]:
    """A user's sessions, or that one."""
    after = 0
    given = {"user": user_id, "conversation": conversation_id}
    while page := _page(database, SESSIONS, {**given, "after": after}):
        yield from (Conversation(*row) for row in page)
        after = page[-1][0]


def entries(database: Database, session_id: int, *, after: int, most: int) -> list[dict[str, Any]]:
    """Hot messages of a session after that number, as a document has them."""
    with database.connection() as connection:
        row = connection.execute(ENTRIES, {"session": session_id, "after": after, "most": most}).fetchone()
    return list(row[0]) if row else []


def _page(database: Database, query: str, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    with database.connection() as connection:
        return connection.execute(query, {**given, "most": PAGE}).fetchall()
