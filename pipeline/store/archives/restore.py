"""Restore: an archive's messages return to the table, and the archive is no longer one, in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from psycopg.errors import IntegrityConstraintViolation

from pipeline.errors import ArchiveBusy
from pipeline.store.archives.records import Archive
from pipeline.store.database import Database

#: First the session, as everybody does.
LOCK = "SELECT FROM sessions WHERE id = %s FOR NO KEY UPDATE"

#: `archived_through` moves back with it, by its trigger; that of the messages sees that they fill the gap. Should
#: nobody come to remove the object, upkeep will.
RESTORED = """
WITH restored AS (
    UPDATE archives SET status = 'restored' WHERE id = %s AND status = 'live' RETURNING id, name
), condemned AS (
    INSERT INTO condemned_objects (name, due_at) SELECT name, now() + interval '1 minute' FROM restored
    ON CONFLICT DO NOTHING
)
SELECT id FROM restored
"""

RETURN = """
INSERT INTO messages (session_id, number, request_id, part, role, content, tool_calls, tool_call_id, metadata,
    created_at)
SELECT %(session)s, h.number, h.request_id, h.part, h.role, h.content, h.tool_calls, h.tool_call_id, h.metadata,
    h.created_at
FROM json_to_recordset(%(history)s) AS h(number bigint, role text, content text, created_at timestamptz,
    request_id uuid, part smallint, tool_calls jsonb, tool_call_id text, metadata jsonb)
ORDER BY h.number
"""

KEEP = "UPDATE sessions SET restored_until = now() + %s * interval '1 second' WHERE id = %s"


def restore(database: Database, archive: Archive, history: Sequence[dict[str, Any]], *, grace: float) -> bool:
    """Make the messages of a session's newest archive hot, for `grace` seconds at least.

    Returns whether it did: not when another has done so. Raises ArchiveBusy while the session is being archived.
    """
    given = {"session": archive.session_id, "history": json.dumps(history)}
    try:
        with database.connection() as connection, connection.transaction():
            connection.execute(LOCK, [archive.session_id])
            if connection.execute(RESTORED, [archive.id]).fetchone() is None:
                return False
            connection.execute(RETURN, given)
            connection.execute(KEEP, [grace, archive.session_id])
    except IntegrityConstraintViolation as refused:
        if refused.diag.constraint_name != "archives_stand_in_a_row":
            raise
        raise ArchiveBusy(archive.user_id, archive.conversation_id) from None
    return True
