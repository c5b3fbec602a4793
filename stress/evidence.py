"""What the ledger says of a run, by SQL: waits, attempts, retries, failures. Only of this run's requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.store.database import Connection, Database
from stress.latency import Spread

#: This run's requests: its users' ids begin with the run's name.
OURS = "user_id ^@ %(run)s"

#: Of answered requests, seconds from acceptance to the first claim, of all attempts together, and between attempts.
SPREADS = f"""
    WITH ours AS (SELECT id, accepted_at, started_at, finished_at FROM requests WHERE {OURS} AND status = 'succeeded'),
    took AS (
        SELECT ours.id, extract(epoch FROM ours.started_at - accepted_at)::float8 AS queue,
            coalesce(sum(extract(epoch FROM a.finished_at - a.started_at)), 0)::float8 AS run,
            extract(epoch FROM ours.finished_at - accepted_at)::float8 AS total
        FROM ours LEFT JOIN attempts AS a ON a.request_id = ours.id
        GROUP BY ours.id, accepted_at, ours.started_at, ours.finished_at
    )
    SELECT what, count(*), min(s), avg(s), percentile_disc(0.5) WITHIN GROUP (ORDER BY s),
        percentile_disc(0.95) WITHIN GROUP (ORDER BY s), percentile_disc(0.99) WITHIN GROUP (ORDER BY s), max(s)
    FROM took, LATERAL (VALUES ('queue', queue), ('run', run), ('total', total)) AS part (what, s) GROUP BY what
"""  # noqa: S608 - constants

STATUSES = f"SELECT status, count(*) FROM requests WHERE {OURS} GROUP BY status"  # noqa: S608 - a constant

ATTEMPTS = f"SELECT attempts, count(*) FROM requests WHERE {OURS} GROUP BY attempts ORDER BY attempts"  # noqa: S608

#: How attempts ended that did not succeed, and when, in seconds since the epoch.
FAILURES = f"""
    SELECT a.outcome, coalesce(a.reason, a.outcome), count(*),
        extract(epoch FROM min(a.finished_at))::float8, extract(epoch FROM max(a.finished_at))::float8
    FROM attempts AS a JOIN requests AS r ON r.id = a.request_id
    WHERE r.{OURS} AND a.outcome <> 'succeeded' GROUP BY 1, 2 ORDER BY 3 DESC
"""  # noqa: S608 - a constant

#: Requests that were tried again, and those of them that were answered.
RETRIED = f"""
    SELECT count(*), count(*) FILTER (WHERE status = 'succeeded') FROM requests
    WHERE {OURS} AND id IN (SELECT request_id FROM attempts WHERE outcome = 'retried')
"""  # noqa: S608 - a constant

#: Messages of requests that ran, beyond one for each attempt: given to the broker again for one that was lost, or spent
#: for nothing.
REPUBLISHED = f"""
    SELECT coalesce(sum(greatest(publications - attempts, 0)), 0)::bigint FROM requests WHERE {OURS} AND attempts > 0
"""  # noqa: S608 - a constant

#: Beside the run's own tables, these reports may take longer than what workers do.
TIMEOUT = "SET LOCAL statement_timeout = '5min'"


@dataclass(frozen=True, slots=True)
class Failures:
    """Attempts that ended alike. `outcome` is theirs: `retried` where another followed. Times: since the epoch."""

    outcome: str
    reason: str
    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ledger has of the run. Spreads are those of answered requests."""

    statuses: dict[str, int]
    attempts: dict[int, int]
    queue_wait: Spread | None
    run_time: Spread | None
    total_time: Spread | None
    failures: Sequence[Failures]
    retried: int
    retried_answered: int
    republished: int

    @property
    def retries(self) -> dict[str, int]:
        """Attempts that were followed by another, by reason."""
        return {each.reason: each.count for each in self.failures if each.outcome == "retried"}


def gather(database: Database, run: str) -> Evidence:
    """Read it, in one snapshot. Raises what the driver raises."""
    with database.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(TIMEOUT)
        spreads = {row[0]: Spread(*row[1:]) for row in _rows(connection, SPREADS, run)}
        retried, answered = _rows(connection, RETRIED, run)[0]
        return Evidence(
            statuses=dict(_rows(connection, STATUSES, run)),
            attempts=dict(_rows(connection, ATTEMPTS, run)),
            queue_wait=spreads.get("queue"),
            run_time=spreads.get("run"),
            total_time=spreads.get("total"),
            failures=[Failures(*row) for row in _rows(connection, FAILURES, run)],
            retried=retried,
            retried_answered=answered,
            republished=_rows(connection, REPUBLISHED, run)[0][0],
        )


def _rows(connection: Connection, statement: str, run: str) -> list[Any]:
    return connection.execute(statement, {"run": run}).fetchall()
