"""Handfuls: sessions that are erased in one transaction. Each one costs a commit, and what it holds others wait for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.combine import batches
from pipeline.store.database import Database

#: Sessions of a handful, and hot messages in it, unless one session alone has more.
SESSIONS, MESSAGES = 50, 10_000

HOT = "SELECT id, last_number - archived_through FROM sessions WHERE id = ANY(%s) ORDER BY id"


def handfuls(database: Database, session_ids: Sequence[int]) -> Iterator[list[int]]:
    """Those of these sessions that are still there, a few at a time."""
    with database.connection() as connection:
        found = connection.execute(HOT, [list(session_ids)]).fetchall()
    for handful in batches(found, lambda one: int(one[1]), most=SESSIONS, heaviest=MESSAGES):
        yield [session_id for session_id, _ in handful]
