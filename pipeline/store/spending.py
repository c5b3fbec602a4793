"""What was spent on providers, by UTC day; summed with each call that is kept, and for summaries without one."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.schemas import Call
from pipeline.store.database import Database

#: Days for which sums are kept. Budgets need today's alone; with these, a month can be held against that of a year ago.
KEPT = 400

#: Adds up what stands in `called`: provider, finished_at and cost of each call. Each connection adds to rows of its
#: own, or all commits would wait for one another.
ADD = """
    INSERT INTO spending (day, provider, shard, cost)
    SELECT (finished_at AT TIME ZONE 'UTC')::date, provider, mod(pg_backend_pid(), 16), sum(cost)
    FROM called WHERE cost > 0 GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (day, provider, shard) DO UPDATE SET cost = spending.cost + excluded.cost
"""

ADD_CALLS = f"""
WITH called AS (
    SELECT * FROM json_to_recordset(%s) AS c(provider text, finished_at timestamptz, cost float8)
)
{ADD}
"""  # noqa: S608 - the inserted text is the constant above

TODAY = """
SELECT provider, sum(cost) FROM spending WHERE day = (now() AT TIME ZONE 'UTC')::date GROUP BY provider
"""

FORGET = "DELETE FROM spending WHERE day < (now() AT TIME ZONE 'UTC')::date - %s::int"


def add(database: Database, calls: Sequence[Call]) -> None:
    """Add up calls that belong to no request. Raises what `database.UNAVAILABLE` lists."""
    rows = [
        {"provider": one.provider, "finished_at": one.finished_at.isoformat(), "cost": one.cost}
        for one in calls
        if one.cost
    ]
    if rows:
        with database.connection() as connection:
            connection.execute(ADD_CALLS, [json.dumps(rows)])


def today(database: Database) -> dict[str, float]:
    """The money spent today, by provider. Raises what `database.UNAVAILABLE` lists."""
    with database.connection() as connection:
        return dict(connection.execute(TODAY).fetchall())


def forget(database: Database) -> int:
    """Delete the sums of days that are longer ago than `KEPT`. Returns how many rows that were."""
    with database.connection() as connection:
        return connection.execute(FORGET, [KEPT]).rowcount
