"""Leases: each worker renews one for all that it holds, by the database's clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pipeline.schemas import Priority
from pipeline.store.database import Database

REGISTER = """
INSERT INTO workers (id, name, pid, lease_until, claimed_through, settings)
VALUES (%(worker)s, %(name)s, %(pid)s, now() + %(lease)s * interval '1 second', %(through)s, %(settings)s)
"""

RENEW = """
WITH renewed AS (
    UPDATE workers SET heartbeat_at = now(), lease_until = now() + %(lease)s * interval '1 second',
        claimed_through = %(through)s
    WHERE id = %(worker)s RETURNING id
)
SELECT r.id, r.fence FROM renewed LEFT JOIN requests AS r
    ON r.id = ANY(%(ids)s) AND r.worker_id = %(worker)s AND r.status = 'running'
"""

RELEASE = "UPDATE workers SET lease_until = now() WHERE id = %s AND lease_until > now()"


COUNT_LIVING = "SELECT count(*) FROM workers WHERE lease_until > now()"

#: In the order in which they began.
LIVING = """
SELECT id, name, pid, started_at, extract(epoch FROM now() - heartbeat_at)::float8, coalesce(settings, '{}')
FROM workers WHERE lease_until > now() ORDER BY started_at, name
"""


@dataclass(frozen=True, slots=True)
class Living:
    """A worker that lives. `quiet` is in seconds, since its last heartbeat; `settings` as `fingerprint` has them."""

    id: UUID
    name: str
    pid: int
    started_at: datetime
    quiet: float
    settings: dict[str, str]


def living(database: Database) -> list[Living]:
    """The workers whose lease runs."""
    with database.connection() as connection:
        return [Living(*row) for row in connection.execute(LIVING).fetchall()]


def register(
    database: Database, worker: UUID, *, name: str, pid: int, lease: float, settings: Mapping[str, str] | None = None
) -> None:
    """Make a worker known, alive for `lease` seconds. `settings` are digests of those that it runs by."""
    given = {"worker": worker, "name": name, "pid": pid, "lease": lease, "through": [None for _ in Priority]}
    given["settings"] = None if settings is None else json.dumps(settings)
    with database.connection() as connection:
        connection.execute(REGISTER, given)


def renew(
    database: Database,
    worker: UUID,
    *,
    lease: float,
    held: Iterable[UUID],
    claimed_through: Mapping[int, datetime],
) -> dict[UUID, int] | None:
    """Renew the worker's lease. Returns, of the requests it holds, those that are still its own, with their fence;
    None when the ledger does not know the worker any more, which is to register again then.
    """
    through = [claimed_through.get(queue) for queue in Priority]
    given = {"worker": worker, "lease": lease, "ids": list(held), "through": through}
    with database.connection() as connection:
        rows = connection.execute(RENEW, given).fetchall()
    return {id_: fence for id_, fence in rows if id_ is not None} if rows else None


def release(database: Database, worker: UUID) -> None:
    """Give the lease back, so that recovery need not wait for what this worker leaves behind."""
    with database.connection() as connection:
        connection.execute(RELEASE, [worker])


def count_living(database: Database) -> int:
    """How many workers have a lease."""
    with database.connection() as connection:
        row = connection.execute(COUNT_LIVING).fetchone()
    return row[0] if row else 0
