"""Due: which sessions the sweep hands out, found through indexes however many sessions there are."""

from __future__ import annotations

from pipeline.store.archives.records import Rules
from pipeline.store.database import Database

#: What grew since the sweep had last nothing to do there; what has been idle for long; what was begun and not finished.
DUE = """
(SELECT s.id FROM sessions AS s
    WHERE s.grown_at IS NOT NULL AND coalesce(s.restored_until < now(), true)
        AND (s.last_number - s.archived_through > %(threshold)s
            OR s.last_number - s.archived_through > %(window)s
                AND s.oldest_hot_at < now() - %(age)s * interval '1 second')
        AND NOT EXISTS (SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status = 'pending')
    ORDER BY s.grown_at LIMIT %(most)s)
UNION (SELECT s.id FROM sessions AS s
    WHERE s.oldest_hot_at < now() - %(idle)s * interval '1 second'
        AND s.last_active_at < now() - %(idle)s * interval '1 second' AND s.last_number > s.archived_through
        AND coalesce(s.restored_until < now(), true)
        AND NOT EXISTS (SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status = 'pending')
    ORDER BY s.oldest_hot_at LIMIT %(most)s)
UNION (SELECT a.session_id FROM archives AS a
    WHERE a.status = 'pending' AND a.next_try_at <= now() ORDER BY a.next_try_at LIMIT %(most)s)
"""

#: Old, and no more than what stays hot anyway: until something is appended there is nothing to do.
SETTLE = """
UPDATE sessions SET grown_at = NULL WHERE id IN (
    SELECT s.id FROM sessions AS s
    WHERE s.grown_at < now() - %(age)s * interval '1 second' AND s.last_number - s.archived_through <= %(window)s
    ORDER BY s.grown_at LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED)
"""


def due(database: Database, rules: Rules, *, most: int) -> list[int]:
    """The sessions that are due now, of each kind those that have waited longest, `most` at most."""
    given = {**rules.as_parameters(), "most": most}
    with database.connection() as connection:
        connection.execute(SETTLE, given)
        return [row[0] for row in connection.execute(DUE, given)]
