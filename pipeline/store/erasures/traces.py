"""Traces: what an erasure, or an archive that has expired, leaves outside Postgres, until that is gone too."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pipeline.store.database import Database
from pipeline.store.erasures.records import Unfinished

#: Seconds until what failed is tried again: first, and at most. Doubled with each failure.
RETRY_DELAY, RETRY_DELAY_MAX = 30.0, 3600.0

#: Most objects in one look.
BATCH = 500

_LATER = "now() + least(%(cap)s, %(delay)s * 2 ^ least(failures, 20)) * interval '1 second'"

RESUME = """
UPDATE erasures SET next_try_at = now() + %(hold)s * interval '1 second' WHERE id IN (
    SELECT id FROM erasures WHERE finished_at IS NULL AND next_try_at <= now()
    ORDER BY next_try_at LIMIT %(most)s FOR UPDATE SKIP LOCKED)
RETURNING id
"""

UNFINISHED = "SELECT id, sessions, streams FROM erasures WHERE id = %s AND finished_at IS NULL"

#: Not where more were added meanwhile.
TO_TRACES = """
UPDATE erasures SET stage = 'traces', sessions = '{}' WHERE id = %s AND stage = 'rows' AND sessions = %s::bigint[]
"""

STREAMS_GONE = "UPDATE erasures SET streams = '{}' WHERE id = %s AND stage = 'traces' AND streams = %s"

FAILED = f"UPDATE erasures SET failures = failures + 1, next_try_at = {_LATER} WHERE id = %(id)s AND stage <> 'done'"  # noqa: S608 - the inserted text is the constant above

#: What is left of it waits for objects that somebody may be writing still.
WAIT = """
UPDATE erasures SET next_try_at = (SELECT min(due_at) FROM condemned_objects WHERE erasure_id = %(id)s)
WHERE id = %(id)s AND EXISTS (SELECT FROM condemned_objects WHERE erasure_id = %(id)s)
"""

FINISH = """
UPDATE erasures SET stage = 'done', finished_at = now() WHERE id = %(id)s AND stage = 'traces' AND streams = '{}'
    AND NOT EXISTS (SELECT FROM condemned_objects WHERE erasure_id = %(id)s)
"""

#: An object of that name that an archive needs would be another one: it stays.
CONDEMNED = """
SELECT name FROM condemned_objects AS c
WHERE due_at <= now() AND erasure_id IS NOT DISTINCT FROM %(erasure)s AND NOT EXISTS (
    SELECT FROM archives AS a WHERE a.name = c.name AND a.status IN ('pending', 'live'))
ORDER BY due_at LIMIT %(most)s
"""

#: One that may be written once more is removed once more.
REMOVED = """
WITH settled AS (DELETE FROM condemned_objects WHERE name = ANY(%(names)s) AND written_until <= now())
UPDATE condemned_objects SET due_at = written_until WHERE name = ANY(%(names)s) AND written_until > now()
"""

NOT_REMOVED = f"UPDATE condemned_objects SET failures = failures + 1, due_at = {_LATER} WHERE name = ANY(%(names)s)"  # noqa: S608 - likewise


def resume(database: Database, *, most: int, hold: float) -> list[UUID]:
    """Take up to `most` erasures that nobody has finished."""
    with database.connection() as connection:
        return [row[0] for row in connection.execute(RESUME, {"most": most, "hold": hold})]


def unfinished(database: Database, id_: UUID) -> Unfinished | None:
    """How far an erasure has come; None when it is done."""
    with database.connection() as connection:
        row = connection.execute(UNFINISHED, [id_]).fetchone()
    return None if row is None else Unfinished(row[0], tuple(row[1]), tuple(row[2]))


def rows_gone(database: Database, id_: UUID, sessions: Sequence[int]) -> None:
    """The rows of these sessions, all that it names, are gone; what is left is elsewhere."""
    with database.connection() as connection:
        connection.execute(TO_TRACES, [id_, list(sessions)])


def streams_gone(database: Database, id_: UUID, streams: Sequence[UUID]) -> None:
    """These were its streams, and are no more."""
    with database.connection() as connection:
        connection.execute(STREAMS_GONE, [id_, list(streams)])


def failed(database: Database, id_: UUID) -> None:
    """Something of it could not be removed: it is tried again later, longer after each failure."""
    with database.connection() as connection:
        connection.execute(FAILED, {"id": id_, "delay": RETRY_DELAY, "cap": RETRY_DELAY_MAX})


def finish(database: Database, id_: UUID) -> None:
    """It is done, if nothing is left."""
    with database.connection() as connection:
        connection.execute(WAIT, {"id": id_})
        connection.execute(FINISH, {"id": id_})


def condemned(database: Database, erasure_id: UUID | None) -> list[str]:
    """Objects that are to be removed now: those of an erasure, or those of archives that have expired."""
    with database.connection() as connection:
        return [row[0] for row in connection.execute(CONDEMNED, {"erasure": erasure_id, "most": BATCH})]


def removed(database: Database, names: Sequence[str]) -> None:
    """These objects are gone."""
    with database.connection() as connection:
        connection.execute(REMOVED, {"names": list(names)})


def not_removed(database: Database, names: Sequence[str]) -> None:
    """These objects could not be removed."""
    given = {"names": list(names), "delay": RETRY_DELAY, "cap": RETRY_DELAY_MAX}
    with database.connection() as connection:
        connection.execute(NOT_REMOVED, given)
