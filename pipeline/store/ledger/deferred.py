"""What was put off because no provider could take its call, and need not wait any longer."""

from __future__ import annotations

from pipeline.retry import DEFERRALS
from pipeline.store.database import Database

#: In the order in which they would have come. Who is claimed or handed on meanwhile has got further anyway.
BRING_FORWARD = """
WITH waiting AS (
    SELECT id, due_at FROM requests
    WHERE head AND published_at IS NULL AND due_at > now()
        AND (reason = ANY(%(reasons)s)
            OR status = 'retrying' AND due_at > now() + %(longest)s * interval '1 second')
    ORDER BY due_at FOR NO KEY UPDATE SKIP LOCKED
), line AS (
    SELECT id, row_number() OVER (ORDER BY due_at, id) - 1 AS nth FROM waiting
)
UPDATE requests AS r SET due_at = least(r.due_at, now() + line.nth * %(apart)s * interval '1 second')
FROM line WHERE r.id = line.id
"""


def bring_forward(database: Database, *, apart: float, longest: float) -> int:
    """Let what waits for a provider come now, one each `apart` seconds; recovery publishes it. Returns how many.

    A retry waits for a provider if it waits for longer than `longest`, the longest delay in seconds that is our own:
    only a provider can have asked for that.

    Whoever cannot be served yet is put off once more. Raises what `database.UNAVAILABLE` lists.
    """
    given = {"reasons": sorted(DEFERRALS), "apart": apart, "longest": longest}
    with database.connection() as connection:
        return connection.execute(BRING_FORWARD, given).rowcount
