"""How the whole stands now. Each look costs by what is unfinished or new, never by how long the history is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pipeline.errors import LedgerUnavailable
from pipeline.schemas import Priority
from pipeline.store.database import UNAVAILABLE, Connection, Database

#: What of the newest calls and requests is looked at.
NEWEST, WITHIN_SECONDS = 1000, 300

#: By the queue it is in, or would be: what waits in the broker, for its time, behind another of its session or user.
QUEUES = """
SELECT coalesce(r.queue, r.rank),
    count(*) FILTER (WHERE status = 'running'),
    count(*) FILTER (WHERE status <> 'running' AND published_at IS NOT NULL AND due_at <= now()),
    count(*) FILTER (WHERE status <> 'running' AND due_at > now()),
    count(*) FILTER (WHERE status <> 'running' AND published_at IS NULL AND due_at <= now()),
    extract(epoch FROM now() - min(accepted_at) FILTER (WHERE status <> 'running'))::float8
FROM requests AS r WHERE finished_at IS NULL GROUP BY 1 ORDER BY 1
"""

#: With those that died within the last minutes, which recovery forgets after a day.
WORKERS = """
SELECT w.name, w.pid, w.lease_until > now(), extract(epoch FROM now() - w.started_at)::float8,
    extract(epoch FROM now() - w.heartbeat_at)::float8,
    (SELECT count(*) FROM requests AS r WHERE r.worker_id = w.id AND r.status = 'running' AND r.finished_at IS NULL)
FROM workers AS w WHERE w.lease_until > now() - interval '5 minutes' ORDER BY w.lease_until > now() DESC, w.name
"""

PROVIDERS = """
SELECT provider, count(*), count(reason), (array_agg(reason ORDER BY id DESC) FILTER (WHERE reason IS NOT NULL))[1],
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)),
    sum(input_tokens + output_tokens)::bigint, coalesce(sum(cost), 0)
FROM (SELECT * FROM calls ORDER BY id DESC LIMIT %(newest)s) AS c
WHERE finished_at > now() - %(within)s * interval '1 second' GROUP BY provider ORDER BY count(*) DESC, provider
"""

OUTCOMES = """
SELECT status, count(*) FROM (SELECT status, accepted_at FROM requests ORDER BY id DESC LIMIT %(newest)s) AS r
WHERE accepted_at > now() - %(within)s * interval '1 second' GROUP BY status
"""

#: The longest by either measure: since acceptance for those that wait, since the claim for those that run.
LONGEST = """
SELECT r.id, r.user_id, s.conversation_id, r.status, r.attempts, r.reason, w.name,
    extract(epoch FROM now() - r.accepted_at)::float8,
    CASE WHEN r.status = 'running' THEN extract(epoch FROM now() - r.claimed_at)::float8 END
FROM ({which}) AS r JOIN sessions AS s ON s.id = r.session_id
LEFT JOIN workers AS w ON w.id = r.worker_id AND r.status = 'running'
"""
_UNFINISHED = "SELECT * FROM requests WHERE finished_at IS NULL AND status"
OLDEST = LONGEST.format(which=f"{_UNFINISHED} <> 'running' ORDER BY accepted_at, position LIMIT %(most)s")
SLOWEST = LONGEST.format(which=f"{_UNFINISHED} = 'running' ORDER BY claimed_at LIMIT %(most)s")


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """`waiting` for a slot, `delayed` until their time, `behind` others; `oldest` is in seconds since acceptance."""

    queue: str
    running: int
    waiting: int
    delayed: int
    behind: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """`up` and `quiet` (since the last heartbeat) are in seconds."""

    name: str
    pid: int
    alive: bool
    up: float
    quiet: float
    running: int


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """The newest calls; `median` and `p95` are in seconds."""

    provider: str
    calls: int
    failed: int
    last_reason: str | None
    median: float
    p95: float
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True)
class LongFacts:
    """A request that has waited, or run, for long; `age` and `running_for` are in seconds."""

    id: UUID
    user_id: str
    conversation_id: str
    status: str
    attempts: int
    reason: str | None
    worker: str | None
    age: float
    running_for: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """How it stands. `outcomes` counts the newest requests by status."""

    workers: list[WorkerFacts]
    queues: list[QueueFacts]
    providers: list[ProviderFacts]
    outcomes: dict[str, int]
    oldest: list[LongFacts]
    slowest: list[LongFacts]


def overview(database: Database, *, most: int = 3) -> Overview:
    """Look, with at most `most` requests in each list of the longest.

    Raises LedgerUnavailable, or ConfigurationError where the tables are not those of this version.
    """
    given = {"newest": NEWEST, "within": WITHIN_SECONDS, "most": most}
    with _reading(database) as connection:

        def rows(statement: str) -> list[tuple[Any, ...]]:
            return connection.execute(statement, given).fetchall()

        return Overview(
            workers=[WorkerFacts(*row) for row in rows(WORKERS)],
            queues=_queues(rows(QUEUES)),
            providers=[ProviderFacts(*row) for row in rows(PROVIDERS)],
            outcomes=dict(rows(OUTCOMES)),
            oldest=[LongFacts(*row) for row in rows(OLDEST)],
            slowest=[LongFacts(*row) for row in rows(SLOWEST)],
        )


def _queues(rows: list[tuple[Any, ...]]) -> list[QueueFacts]:
    found = {queue: QueueFacts(Priority(queue).name, *rest) for queue, *rest in rows}
    return [found.get(one) or QueueFacts(one.name, 0, 0, 0, 0, None) for one in Priority]


@contextmanager
def _reading(database: Database) -> Iterator[Connection]:
    try:
        with database.connection() as connection:
            yield connection
    except UNAVAILABLE as fault:
        raise LedgerUnavailable from fault
