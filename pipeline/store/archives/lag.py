"""Lag: how far archiving is behind."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.store.archives.records import Rules
from pipeline.store.database import Database
from pipeline.store.planning import plan_through_indexes

#: What the sweep would hand out, and since when. For a session with too many messages that is not known: it counts
#: from its newest one, as the earlier ones may have been few enough. What is pending counts from its beginning. Read
#: are the sessions that grew since the sweep last settled them, and those that are idle, never the others.
LAG = """
SELECT count(DISTINCT id), coalesce(extract(epoch FROM now() - min(since)), 0)::float8 FROM (
    SELECT s.id, CASE WHEN s.last_number - s.archived_through > %(threshold)s
        THEN least(s.last_active_at, s.oldest_hot_at + %(age)s * interval '1 second')
        ELSE s.oldest_hot_at + %(age)s * interval '1 second' END AS since
    FROM sessions AS s
    WHERE s.grown_at IS NOT NULL AND coalesce(s.restored_until < now(), true)
        AND (s.last_number - s.archived_through > %(threshold)s
            OR s.last_number - s.archived_through > %(window)s
                AND s.oldest_hot_at < now() - %(age)s * interval '1 second')
        AND NOT EXISTS (SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status = 'pending')
    UNION ALL
    SELECT a.session_id, a.archived_at FROM archives AS a WHERE a.status = 'pending'
    UNION ALL
    SELECT s.id, s.last_active_at + %(idle)s * interval '1 second' FROM sessions AS s
    WHERE s.oldest_hot_at < now() - %(idle)s * interval '1 second'
        AND s.last_active_at < now() - %(idle)s * interval '1 second' AND s.last_number > s.archived_through
        AND coalesce(s.restored_until < now(), true)
) AS waiting
"""


@dataclass(frozen=True, slots=True)
class Lag:
    """How many sessions are due, and for how many seconds the first of them has been."""

    sessions: int
    seconds: float


def lag(database: Database, rules: Rules) -> Lag:
    """How far archiving is behind now."""
    with database.connection() as connection, connection.transaction():
        plan_through_indexes(connection)
        row = connection.execute(LAG, rules.as_parameters()).fetchone()
    return Lag(*row) if row else Lag(0, 0.0)
