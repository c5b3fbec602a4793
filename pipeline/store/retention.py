"""Retention: what has been kept long enough goes, a small batch at a time, and nothing that is still referred to."""

from __future__ import annotations

from pipeline.store.database import Database

#: Requests, or archives, that one round deals with.
BATCH = 500

#: Ids are in the order of their time, so the old ones stand together in the primary key. A request that one without an
#: outcome is to repeat stays. Messages keep the id of theirs, and need no more of it.
FORGET_REQUESTS = """
WITH old AS (
    SELECT id FROM requests AS r
    WHERE id < (lpad(to_hex(floor(extract(epoch FROM now() - %(age)s * interval '1 second') * 1000)::bigint), 12, '0')
            || repeat('0', 20))::uuid
        AND finished_at < now() - %(age)s * interval '1 second'
        AND NOT EXISTS (SELECT FROM requests AS l WHERE l.retry_of = r.id AND l.finished_at IS NULL)
    ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
), calls_gone AS (
    DELETE FROM calls AS c USING old WHERE c.request_id = old.id
), attempts_gone AS (
    DELETE FROM attempts AS a USING old WHERE a.request_id = old.id
)
DELETE FROM requests AS r USING old WHERE r.id = old.id
"""

OLD_ARCHIVES = """
SELECT id, session_id FROM archives
WHERE status = 'live' AND archived_at < now() - %(age)s * interval '1 second' ORDER BY archived_at LIMIT %(most)s
"""

#: The session first, as everybody does; one that somebody works on is left for the next round. Its object goes after
#: the commit: until then it can be read.
EXPIRE_ARCHIVE = """
WITH locked AS (
    SELECT id FROM sessions WHERE id = %(session)s FOR NO KEY UPDATE SKIP LOCKED
), expired AS (
    UPDATE archives AS a SET status = 'expired' FROM locked
    WHERE a.id = %(id)s AND a.status = 'live' AND a.session_id = locked.id AND NOT EXISTS (
        SELECT FROM archives AS older WHERE older.session_id = a.session_id AND older.status = 'live'
            AND older.last_number < a.first_number)
    RETURNING a.name
)
INSERT INTO condemned_objects (name) SELECT name FROM expired ON CONFLICT DO NOTHING
"""


def forget_requests(database: Database, *, age: float) -> int:
    """Delete a batch of requests that ended more than `age` seconds ago, with attempts and calls.

    Returns how many.
    """
    with database.connection() as connection:
        return connection.execute(FORGET_REQUESTS, {"age": age, "most": BATCH}).rowcount


def expire_archives(database: Database, *, age: float) -> int:
    """Let a batch of archives expire that were begun more than `age` seconds ago, of each session the oldest first.

    Returns how many. Their objects are condemned.
    """
    expired = 0
    with database.connection() as connection:
        for id_, session in connection.execute(OLD_ARCHIVES, {"age": age, "most": BATCH}).fetchall():
            expired += connection.execute(EXPIRE_ARCHIVE, {"id": id_, "session": session}).rowcount
    return expired
