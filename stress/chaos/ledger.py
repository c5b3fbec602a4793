"""What the ledger says of the run's requests: who would be touched, and who runs again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pipeline.store.database import UNAVAILABLE, Database
from stress.chaos.fault import Strike, Touched
from stress.evidence import OURS

#: The run's requests without an outcome.
UNFINISHED = f"SELECT id::text, fence FROM requests WHERE {OURS} AND finished_at IS NULL"  # noqa: S608 - a constant

#: Those of them that these processes run.
RUN_BY = f"""
    SELECT r.id::text, r.fence FROM requests AS r JOIN workers AS w ON w.id = r.worker_id
    WHERE r.{OURS} AND r.status = 'running' AND w.pid = ANY(%(pids)s) AND w.lease_until > now()
"""  # noqa: S608 - a constant

#: Those whose message lies in the broker, or with a worker until its time has come.
AT_BROKER = f"{UNFINISHED} AND head AND published_at IS NOT NULL AND status <> 'running'"

#: Those of which an attempt began since then, ended or not.
BEGUN_SINCE = f"SELECT id::text, fence FROM requests WHERE {OURS} AND claimed_at >= %(since)s"  # noqa: S608 - a constant

#: Archives that were begun since then, and of which cold storage took no object; and those that are not done after a
#: second, for which it takes a moment.
REFUSED = """
    SELECT count(*) FROM archives WHERE status = 'pending' AND archived_at >= %(since)s AND error <> 'SessionBusy'
"""
HELD_UP = """
    SELECT count(*) FROM archives WHERE status = 'pending' AND error IS NULL
        AND archived_at BETWEEN %(since)s AND now() - interval '1 second'
"""

#: Of what was touched, what neither has ended nor runs again, on a worker that lives.
WAITING = """
    SELECT r.id::text FROM unnest(%(ids)s::uuid[], %(fences)s::bigint[]) AS touched (id, fence)
    JOIN requests AS r ON r.id = touched.id LEFT JOIN workers AS w ON w.id = r.worker_id
    WHERE r.finished_at IS NULL AND NOT (r.status = 'running' AND coalesce(w.lease_until > now(), false)
        AND (r.fence > touched.fence OR NOT %(anew)s))
"""

#: How each of them ended.
STATUSES = f"SELECT id::text, status FROM requests WHERE {OURS}"  # noqa: S608 - a constant


class Ledger:
    """A look into it. `run` is the beginning of the users' ids."""

    def __init__(self, database: Database, run: str) -> None:
        self._database = database
        self._given = {"run": run}

    def unfinished(self) -> Touched:
        return dict(self._rows(UNFINISHED))

    def run_by(self, pids: Iterable[int | None]) -> Touched:
        return dict(self._rows(RUN_BY, pids=[pid for pid in pids if pid]))

    def at_broker(self) -> Touched:
        return dict(self._rows(AT_BROKER))

    def begun_since(self, moment: datetime) -> Touched:
        return dict(self._rows(BEGUN_SINCE, since=moment))

    def now(self) -> datetime:
        """By the ledger's clock."""
        moment: datetime = self._rows("SELECT now()")[0][0]
        return moment

    def refused_since(self, moment: datetime) -> int:
        """Archives of which writing failed."""
        return int(self._rows(REFUSED, since=moment)[0][0])

    def held_up_since(self, moment: datetime) -> int:
        """Archives whose writers wait."""
        return int(self._rows(HELD_UP, since=moment)[0][0])

    def statuses(self) -> dict[str, str]:
        return dict(self._rows(STATUSES))

    def waiting(self, strike: Strike) -> int | None:
        """How many of what it touched do not run again yet; None while Postgres is away."""
        given = {"ids": list(strike.touched), "fences": list(strike.touched.values()), "anew": strike.anew}
        try:
            with self._database.connection() as connection:
                return len(connection.execute(WAITING, given).fetchall())
        except UNAVAILABLE:
            return None

    def _rows(self, statement: str, **given: Any) -> list[Any]:
        def read() -> list[Any]:
            with self._database.connection() as connection:
                return connection.execute(statement, {**self._given, **given}).fetchall()

        return self._database.patiently(read, seconds=60)
