"""Claim: of all that a request is delivered to, one worker at a time may answer it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pipeline.schemas import Message
from pipeline.store.database import Database
from pipeline.store.ledger.records import Claim
from pipeline.store.procedures import Procedure

#: As many index entries as the window has, however long the history is; and of what they lead to, no more than fits.
#: (How long a text is, Postgres knows without reading it.) By column: how a type is written Postgres looks up once an
#: array, but once a value where each message is an array of its own.
CONTEXT = """
    SELECT json_build_array(array_agg(m.role), array_agg(m.content), array_agg(m.tool_calls),
        array_agg(m.tool_call_id), array_agg(m.metadata), array_agg(m.number), array_agg(m.request_id),
        array_agg(m.created_at)) AS newest_first
    FROM (SELECT *, sum(octet_length(m.content) + coalesce(octet_length(m.tool_calls::text), 0)
                + coalesce(octet_length(m.metadata::text), 0)) OVER (ORDER BY m.number DESC) AS so_far
        FROM (SELECT * FROM messages AS m WHERE m.session_id = r.session_id
                AND m.number > coalesce(summary.through_number, 0) ORDER BY m.number DESC LIMIT _window) AS m) AS m
    WHERE m.so_far <= _most_bytes
"""

#: A claim is a lease and no promise to anybody: it need not be on the disk before the work begins, and half of what
#: a claim took was waiting for that. One that a crash of Postgres forgets was never made: the request is still queued,
#: its worker learns at the next heartbeat that it holds nothing, and recovery publishes again.
NOT_AWAITED = "PERFORM set_config('synchronous_commit', 'off', true);"

#: Grows with each claim, and is never given twice, although a crash may forget that it was given: hence the clock.
FENCE = "greatest(r.fence + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"

#: A message that comes so little before its time is taken: clocks and timers are no better than that.
EARLY = "interval '50 milliseconds'"

#: SKIP LOCKED: whoever holds a waiting request's row moves or ends it, and publishes again after its commit.
CLAIM_AND_READ = f"""
WITH candidate AS (
    SELECT r.id FROM requests AS r
    WHERE r.id = ANY(_ids) AND r.head AND r.deadline > now()
        AND (r.status IN ('queued', 'retrying') AND r.attempts < r.max_attempts
                AND r.due_at <= now() + {EARLY}
            OR r.status = 'running' AND r.worker_id = _worker AND r.id = ANY(_lost))
        AND EXISTS (SELECT FROM workers AS w WHERE w.id = _worker AND w.lease_until > now())
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE requests AS r SET status = 'running', fence = {FENCE},
        attempts = r.attempts + (r.status <> 'running')::int,
        worker_id = _worker, claimed_at = now(), started_at = coalesce(r.started_at, now()),
        run_until = least(r.deadline, now() + r.timeout * interval '1 second')
    FROM candidate WHERE r.id = candidate.id
    RETURNING r.*
)
SELECT json_agg(json_build_array(
    r.id, r.fence, r.attempts, r.max_attempts, r.session_id, r.user_id, s.conversation_id, r.position, r.agent,
    r.text, r.metadata, r.origin, encode(r.stream_key, 'hex'), coalesce(r.queue, r.rank),
    coalesce(r.published_at, now()), r.publications, extract(epoch FROM r.run_until - now())::float8,
    extract(epoch FROM r.deadline - now())::float8, r.traceparent, summary.text,
    summary.through_number, context.newest_first))
INTO _claims
FROM claimed AS r JOIN sessions AS s ON s.id = r.session_id LEFT JOIN summaries AS summary ON summary.session_id = s.id
CROSS JOIN LATERAL ({CONTEXT}) AS context;
"""  # noqa: S608 - the inserted text is the constants above

CLAIM = Procedure(
    "claim",
    ("_ids uuid[]", "_worker uuid", "_window int", "_most_bytes bigint", "_lost uuid[]"),
    declare="    _claims json;",
    body=f"{NOT_AWAITED}\n{CLAIM_AND_READ}\nRETURN coalesce(_claims, '[]');",
)


def claim(
    database: Database, worker: UUID, ids: Sequence[UUID], *, window: int, most_bytes: int, lost: Sequence[UUID] = ()
) -> list[Claim]:
    """Claim what may run of `ids` for this worker, and load each one's context: the summary of what is archived, if
    there is one, and of the messages after it the newest, at most `window` and no more than `most_bytes` together.

    `lost` are those of `ids` that this worker may have claimed before in a commit whose answer it never saw: they
    are claimed anew, as the same attempt. Without that it would renew the lease on them and run them never.

    What is not returned is not to be run: it runs already, has ended, or is not its session's turn.
    """
    return [_claim(row) for row in CLAIM.call(database, sorted(set(ids)), worker, window, most_bytes, list(lost))]


def _claim(row: list[Any]) -> Claim:
    *request, traceparent, summary, through, newest = row
    id_, *facts, stream_key, queue, published_at, publications, run_left, deadline_left = request
    messages = [_message(*one) for one in zip(*(reversed(column or ()) for column in newest), strict=True)]
    told = [] if summary is None else [_told(summary, through)]
    context = [*told, *whole_turns(messages)]
    published = datetime.fromisoformat(published_at)
    rest = (publications, run_left, deadline_left, context, traceparent)
    return Claim(*(UUID(id_), *facts, bytes.fromhex(stream_key), queue, published, *rest))


def whole_turns(messages: list[Message]) -> list[Message]:
    """The messages from the first whole turn on, so that no tool call is parted from its result.

    A window may begin in the middle of a turn, and so may what comes after a summary: one that ends within a turn that
    is too large for one archive, and is on its way.
    """
    begins = (index for index, message in enumerate(messages) if message.role == "user" or message.number == 1)
    return messages[next(begins, len(messages)) :]


def _told(summary: str, through: int) -> Message:
    """What a model is told about messages that it does not see."""
    return Message("system", f"Summary of the conversation up to here (messages 1 to {through}):\n{summary}")


def _message(*row: Any) -> Message:
    role, content, calls, call_id, metadata, number, request_id, created_at = row
    at = datetime.fromisoformat(created_at)
    return Message(role, content, tuple(calls or ()), call_id, metadata or {}, number, request_id, at)
