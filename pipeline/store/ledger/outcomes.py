"""Outcomes: what waiters are told, and where a request stands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from pipeline.errors import RequestNotFound
from pipeline.schemas import Status
from pipeline.store.database import Database
from pipeline.store.ledger.records import Outcome
from pipeline.store.procedures import Procedure

_OUTCOMES = """
SELECT r.id, r.status, r.reason, r.attempts, m.content, c.provider, c.model,
    coalesce(c.input_tokens, 0)::bigint, coalesce(c.output_tokens, 0)::bigint,
    extract(epoch FROM coalesce(r.started_at, r.finished_at) - r.accepted_at)::float8,
    extract(epoch FROM r.finished_at - coalesce(r.claimed_at, r.finished_at))::float8,
    extract(epoch FROM r.finished_at - r.accepted_at)::float8
FROM requests AS r
LEFT JOIN LATERAL (
    SELECT content FROM messages WHERE request_id = r.id ORDER BY part DESC LIMIT 1) AS m ON r.status = 'succeeded'
LEFT JOIN LATERAL (
    SELECT (array_agg(provider ORDER BY id DESC))[1] AS provider, (array_agg(model ORDER BY id DESC))[1] AS model,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
    FROM calls WHERE request_id = r.id AND fence = r.fence) AS c ON r.status = 'succeeded'
WHERE r.id = ANY(_ids) AND r.finished_at IS NOT NULL
"""

#: As a function, so that a plan that was made while the tables were small does not read all of them later.
OUTCOMES = Procedure(
    "outcomes",
    ("_ids uuid[]",),
    declare="    _found json;",
    body=f"""
SELECT json_agg(json_build_array(id, status, reason, attempts, content, provider, model, input_tokens, output_tokens,
    queued, running, total)) INTO _found
FROM ({_OUTCOMES.strip()}) AS o(id, status, reason, attempts, content, provider, model, input_tokens, output_tokens,
    queued, running, total);
RETURN coalesce(_found, '[]');
""",  # noqa: S608 - the inserted text is the constant above
)

MISSING = "SELECT id FROM unnest(%s::uuid[]) AS i(id) WHERE NOT EXISTS (SELECT FROM requests AS r WHERE r.id = i.id)"

STANDING = """
SELECT r.id, r.user_id, s.conversation_id, r.session_id, r.position, r.status, r.fence, r.worker_id, r.origin,
    r.stream_key, r.attempts
FROM requests AS r JOIN sessions AS s ON s.id = r.session_id WHERE r.id = %s
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands now, and what its handle needs."""

    id: UUID
    user_id: str
    conversation_id: str
    session_id: int
    position: int
    status: Status
    fence: int
    worker_id: UUID | None
    origin: str
    stream_key: bytes
    attempts: int


def outcomes(database: Database, ids: Sequence[UUID]) -> list[Outcome]:
    """The outcomes of those of `ids` that have one."""
    return [Outcome(UUID(id_), Status(status), *rest) for id_, status, *rest in OUTCOMES.call(database, list(ids))]


def missing(database: Database, ids: Collection[UUID]) -> list[UUID]:
    """Those of `ids` that are no requests, or none any more."""
    if not ids:
        return []
    with database.connection() as connection:
        return [row[0] for row in connection.execute(MISSING, [list(ids)])]


def standing(database: Database, id_: UUID) -> Standing:
    """Where one request stands. Raises RequestNotFound."""
    with database.connection() as connection:
        row = connection.execute(STANDING, [id_]).fetchone()
    if row is None:
        raise RequestNotFound(str(id_))
    facts = list(row)
    facts[5] = Status(facts[5])
    return Standing(*facts)
