"""What only a look at the whole ledger can tell, read from indexes alone.

Outcomes and messages are counted rather than kept in a table of sums. Sums would be free to read, but each commit would
write one more row for them, and that row is where commits would meet that have nothing else in common. Counting 100,000
outcomes and 200,000 messages from their indexes takes 0.1 s, 0.3 s where no vacuum has been for long, at each scrape.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.schemas import Priority, Status
from pipeline.store.database import Connection, Database
from pipeline.store.planning import plan_through_indexes

ENDED = "SELECT outcome, count(*) FROM requests WHERE outcome IS NOT NULL GROUP BY outcome"

#: `stuck`: nobody is at work on it any more, and recovery should have come by now.
UNFINISHED = """
SELECT queue, state, status, count(*), extract(epoch FROM now() - min(due_at))::float8
FROM (
    SELECT coalesce(r.queue, r.rank) AS queue, r.status, r.due_at,
        CASE WHEN r.deadline < now() - %(patience)s * interval '1 second' THEN 'stuck'
            WHEN r.status = 'running' AND (w.id IS NULL
                OR w.lease_until < now() - %(patience)s * interval '1 second'
                OR r.run_until < now() - %(patience)s * interval '1 second') THEN 'stuck'
            WHEN r.status = 'running' THEN 'running'
            WHEN r.due_at > now() THEN 'delayed'
            ELSE 'waiting' END AS state
    FROM requests AS r LEFT JOIN workers AS w ON w.id = r.worker_id
    WHERE r.finished_at IS NULL
) AS u GROUP BY queue, state, status
"""

#: A worker that stops gives its lease back, one that dies leaves it to run out.
WORKERS = """
SELECT count(*) FILTER (WHERE lease_until >= now()),
    count(*) FILTER (WHERE lease_until < now() AND lease_until > now() - interval '10 minutes'
        AND lease_until - heartbeat_at > %(lease)s * interval '0.95 seconds')
FROM workers
"""

HOT = "SELECT count(*) FROM messages"

HOT_OF_LABELLED = """
SELECT u.user_id, (
    SELECT count(*) FROM sessions AS s JOIN messages AS m ON m.session_id = s.id WHERE s.user_id = u.user_id)
FROM metric_users AS u
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Unfinished requests of one queue that stand alike. `oldest` is in seconds since the oldest was due."""

    queue: str
    state: str
    status: Status
    requests: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Whole:
    """The ledger at one moment. `lost` workers died within the last ten minutes; `hot` counts messages by user."""

    ended: dict[Status, int]
    unfinished: list[Group]
    workers_alive: int
    workers_lost: int
    hot: int
    hot_of_labelled: dict[str, int]

    @property
    def by_status(self) -> dict[Status, int]:
        """How many requests there are of each status."""
        counts = {status: self.ended.get(status, 0) for status in Status}
        for group in self.unfinished:
            counts[group.status] += group.requests
        return counts

    def count(self, state: str, queue: str | None = None) -> int:
        """Unfinished requests in that state."""
        return sum(one.requests for one in self.unfinished if one.state == state and queue in (None, one.queue))

    @property
    def oldest_waiting(self) -> float:
        """Seconds for which the oldest has waited that could run; 0 when none waits."""
        return max((one.oldest for one in self.unfinished if one.state == "waiting"), default=0.0)


def look(database: Database, *, lease: float, patience: float) -> Whole:
    """Look at all of it. Nobody is called stuck before recovery has had `patience` seconds.

    Raises what `database.UNAVAILABLE` lists.
    """
    given = {"lease": lease, "patience": patience}
    with database.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        plan_through_indexes(connection)
        return _read(connection, given)


def _read(connection: Connection, given: dict[str, float]) -> Whole:
    ended = {Status(status): count for status, count in connection.execute(ENDED)}
    unfinished = [
        Group(Priority(queue).name, state, Status(status), count, oldest)
        for queue, state, status, count, oldest in connection.execute(UNFINISHED, given)
    ]
    [(alive, lost)] = connection.execute(WORKERS, given).fetchall()
    [(hot,)] = connection.execute(HOT).fetchall()
    return Whole(ended, unfinished, alive, lost, hot, dict(connection.execute(HOT_OF_LABELLED).fetchall()))
