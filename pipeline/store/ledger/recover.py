"""Recovery's questions to the ledger: who is dead, what ran too long, what is late, what the broker lost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.store.database import Database
from pipeline.store.ledger.accept import LOCK_USERS
from pipeline.store.ledger.handover import PUBLISH_NEXT
from pipeline.store.ledger.records import Publication
from pipeline.store.procedures import Procedure

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The key of the advisory lock under which recovery runs.
ADVISORY_LOCK = 0x63697466

#: Most requests that one look deals with, of each kind. What is left waits for the next look, seconds later.
BATCH = 2000

#: Seconds that a worker has to end what was interrupted, with the text that there is.
INTERRUPT_PATIENCE = 3.0

#: Unfinished requests that cannot go on as they are. A run limit is the worker's own to keep; recovery steps in
#: `patience` seconds later.
STRANDED = """
SELECT r.id, r.fence, r.user_id, r.session_id, r.position, r.attempts, r.max_attempts,
    CASE WHEN r.deadline <= now() AND r.status <> 'running' THEN 'expired'
        WHEN r.interrupted_at IS NOT NULL THEN 'interrupted'
        WHEN w.id IS NULL OR w.lease_until < now() THEN 'worker_lost'
        ELSE 'overran' END AS why,
    r.deadline <= now() AS late
FROM requests AS r LEFT JOIN workers AS w ON w.id = r.worker_id
WHERE (r.head AND r.published_at IS NOT NULL AND r.status = 'running'
        AND (w.id IS NULL OR w.lease_until < now() OR r.run_until < now() - %(patience)s * interval '1 second'))
    OR (r.finished_at IS NULL AND r.deadline <= now() AND r.status <> 'running')
    OR (r.head AND r.interrupted_at < now() - %(interrupt)s * interval '1 second')
LIMIT %(batch)s
"""

#: A queue is first in, first out: once something published well after a message has been claimed, or the queue is
#: empty, that message is gone. A healthy backlog, however long, is never overtaken by what stands behind it.
LOST = """
WITH through AS (
    SELECT queue - 1 AS queue, max(newest) AS newest
    FROM workers, unnest(claimed_through) WITH ORDINALITY AS c(newest, queue) GROUP BY queue
), lost AS (
    SELECT r.id FROM requests AS r LEFT JOIN through AS t ON t.queue = r.queue
    WHERE r.head AND r.published_at IS NOT NULL AND r.status IN ('queued', 'retrying')
        AND greatest(r.published_at, r.due_at) < now() - %(grace)s * interval '1 second'
        AND (r.queue = ANY(%(empty)s) OR r.published_at < t.newest - %(grace)s * interval '1 second')
    ORDER BY r.rank, r.accepted_at LIMIT %(batch)s
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE requests AS r SET published_at = now(), queue = r.rank, publications = r.publications + 1
FROM lost, sessions AS s WHERE r.id = lost.id AND s.id = r.session_id
RETURNING r.id, r.user_id, s.conversation_id, r.queue, r.publications, r.traceparent
"""

DUE = Procedure(
    "due",
    ("_users text[]", "_concurrency int"),
    declare="    _published json;",
    body=f"{LOCK_USERS}\n{PUBLISH_NEXT}\nRETURN _published;",
)

#: Users with something that is due and not published, although they have room: a retry whose wait was the ledger's,
#: or room that grew. Who waits for a place of their own would fill the batch for as long as they are busy.
WAITING_USERS = """
WITH waiting AS MATERIALIZED (
    SELECT user_id, min(due_at) AS since FROM requests WHERE head AND published_at IS NULL AND due_at <= now()
    GROUP BY user_id
)
SELECT user_id FROM waiting AS w
WHERE (SELECT count(*) FROM requests AS r
       WHERE r.user_id = w.user_id AND r.head AND r.published_at IS NOT NULL) < %(concurrency)s
ORDER BY since LIMIT %(batch)s
"""

#: For each `ageing` seconds that it has waited, a request counts one class higher, so that even `batch` comes to its
#: turn under a stream of `urgent`.
OLD = "r.rank > 0 AND r.accepted_at < now() - (1 + r.priority - r.rank) * %(ageing)s * interval '1 second'"

#: What could run moves to the queue of its rank: when it has grown old; and when it got that rank while it ran or
#: waited for its time. The message in the old queue is dropped as a duplicate when it comes to it. These are few, for
#: each user has few places.
MOVE_UP = f"""
WITH old AS (
    SELECT r.id, r.rank - ({OLD})::int AS rank FROM requests AS r
    WHERE r.head AND r.published_at IS NOT NULL AND r.status IN ('queued', 'retrying') AND r.due_at <= now()
        AND ({OLD} OR r.queue > r.rank)
    ORDER BY r.accepted_at LIMIT %(batch)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE requests AS r SET rank = old.rank, published_at = now(), queue = old.rank, publications = r.publications + 1
FROM old, sessions AS s WHERE r.id = old.id AND s.id = r.session_id
RETURNING r.id, r.user_id, s.conversation_id, r.queue, r.publications, r.traceparent
"""  # noqa: S608 - the inserted text is the constant above

#: What waits for a place of its user grows old where it is, a few at a time and the users by turns: that decides
#: which of its user's comes next, and no more.
AGE_WAITING = f"""
WITH old AS (
    SELECT r.id, r.accepted_at, row_number() OVER (PARTITION BY r.user_id ORDER BY r.accepted_at) AS place
    FROM requests AS r WHERE r.head AND r.published_at IS NULL AND r.due_at <= now() AND {OLD}
), first AS (
    SELECT id FROM old ORDER BY place, accepted_at LIMIT 100
), held AS (
    SELECT r.id FROM first JOIN requests AS r ON r.id = first.id
    WHERE r.head AND r.published_at IS NULL AND {OLD} FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE requests AS r SET rank = r.rank - 1 FROM held WHERE r.id = held.id
"""  # noqa: S608 - likewise

#: Long dead, and holding nothing: nobody asks for them any more.
FORGET_WORKERS = "DELETE FROM workers WHERE lease_until < now() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class Stranded:
    """An unfinished request that cannot go on, and why: `expired`, `interrupted`, `worker_lost`, `overran`."""

    id: UUID
    fence: int
    user_id: str
    session_id: int
    position: int
    attempts: int
    max_attempts: int
    why: str
    late: bool


@contextmanager
def alone(database: Database) -> Iterator[bool]:
    """Whether this is the only recovery at work over the whole fleet, for as long as the block runs."""
    with database.connection() as connection, connection.transaction():
        row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [ADVISORY_LOCK]).fetchone()
        yield row is not None and row[0]


def stranded(database: Database, *, patience: float) -> list[Stranded]:
    """Who cannot go on as they are."""
    with database.connection() as connection:
        given = {"patience": patience, "interrupt": INTERRUPT_PATIENCE, "batch": BATCH}
        rows = connection.execute(STRANDED, given).fetchall()
    return [Stranded(*row) for row in rows]


def lost(database: Database, *, grace: float, empty_queues: Sequence[int]) -> list[Publication]:
    """What the broker lost, marked as published again: the caller publishes it."""
    return _published(database, LOST, {"grace": grace, "empty": list(empty_queues), "batch": BATCH})


def aged(database: Database, *, ageing: float) -> list[Publication]:
    """What has waited another `ageing` seconds moves one class up. Returns what is to be published there."""
    given: dict[str, object] = {"ageing": ageing, "batch": BATCH}
    moved = _published(database, MOVE_UP, given)
    with database.connection() as connection:
        connection.execute(AGE_WAITING, given)
    return moved


def due(database: Database, *, concurrency: int) -> list[Publication]:
    """What waited in the ledger alone and may run now."""
    with database.connection() as connection:
        given = {"batch": BATCH, "concurrency": concurrency}
        users = [row[0] for row in connection.execute(WAITING_USERS, given).fetchall()]
    if not users:
        return []
    return [Publication.of(row) for row in DUE.call(database, users, concurrency)]


def forget_dead_workers(database: Database) -> None:
    """Drop the rows of workers that died long ago."""
    with database.connection() as connection:
        connection.execute(FORGET_WORKERS)


def _published(database: Database, statement: str, given: dict[str, object]) -> list[Publication]:
    with database.connection() as connection:
        return [Publication(*row) for row in connection.execute(statement, given).fetchall()]
