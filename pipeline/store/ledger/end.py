"""End: one outcome, one set of messages, guarded by the fence; then the next request's turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pipeline import signals
from pipeline.schemas import OUTCOMES, Call, Status
from pipeline.store import spending
from pipeline.store.database import Database
from pipeline.store.ledger.accept import LOCK_USERS
from pipeline.store.ledger.handover import NEXT_HEADS, PUBLISH_NEXT
from pipeline.store.ledger.records import Course, Ending, Publication
from pipeline.store.procedures import Procedure

#: Kept for an attempt that lost its claim too: they were paid for.
CALLED = f"""
called AS (
    INSERT INTO calls (request_id, attempt, fence, provider, model, started_at, first_token_at, finished_at,
        status_code, reason, input_tokens, output_tokens, cost, choice)
    SELECT c.request_id, c.attempt, c.fence, c.provider, c.model, c.started_at, c.first_token_at, c.finished_at,
        c.status_code, c.reason, c.input_tokens, c.output_tokens, c.cost, c.choice
    FROM json_to_recordset(_calls) AS c(request_id uuid, attempt smallint, fence bigint, provider text,
        model text, started_at timestamptz, first_token_at timestamptz, finished_at timestamptz,
        status_code smallint, reason text, input_tokens bigint, output_tokens bigint, cost float8, choice text, nth int)
    JOIN requests AS r ON r.id = c.request_id ORDER BY c.nth
    RETURNING provider, finished_at, input_tokens, output_tokens, cost
), spent AS ({spending.ADD})"""  # noqa: S608 - the inserted text is a constant

#: What a Course is made of.
COURSE = """was = 'running', attempts, extract(epoch FROM now() - accepted_at)::float8,
    extract(epoch FROM claimed_at - due_at)::float8, extract(epoch FROM now() - claimed_at)::float8, retried_for,
    CASE WHEN was = 'running' THEN worker_id END"""

#: One statement for every way to end: what belongs together is written together or not at all.
END = f"""
WITH target AS (
    SELECT r.id, r.session_id, r.attempts, r.fence, r.worker_id, r.claimed_at, r.origin, r.status AS was,
        r.accepted_at, r.due_at,
        CASE WHEN r.attempts > 1 THEN (SELECT a.reason FROM attempts AS a
            WHERE a.request_id = r.id AND a.number = r.attempts - 1) END AS retried_for,
        i.status, i.reason, i.error, i.delay, i.countdown, i.final,
        i.status = 'succeeded' OR i.status = 'cancelled' AND i.said AND r.interrupted_at IS NOT NULL AS said
    FROM json_to_recordset(_endings) AS i(id uuid, fence bigint, status text, reason text, error text,
        delay float8, countdown bool, final bool, said bool)
    JOIN requests AS r ON r.id = i.id
    WHERE r.finished_at IS NULL AND (i.fence IS NULL OR (r.status = 'running' AND r.fence = i.fence))
    FOR NO KEY UPDATE OF r
), ended AS (
    -- back in the queue, without an attempt: a deferral
    UPDATE requests AS r SET status = t.status, reason = t.reason, run_until = NULL,
        attempts = r.attempts - (t.was = 'running' AND t.status = 'queued')::int,
        started_at = CASE WHEN t.status <> 'queued' OR r.attempts > 1 THEN r.started_at END,
        head = r.head AND NOT t.final,
        finished_at = CASE WHEN t.final THEN now() END,
        text = CASE WHEN NOT t.said THEN r.text END, -- what was said is in the history
        due_at = CASE WHEN t.final THEN r.due_at ELSE now() + coalesce(t.delay, 0) * interval '1 second' END,
        published_at = CASE WHEN t.final THEN r.published_at WHEN t.countdown THEN now() END,
        publications = r.publications + t.countdown::int
    FROM target AS t WHERE r.id = t.id
), attempted AS (
    INSERT INTO attempts (request_id, number, fence, worker_id, started_at, finished_at, outcome, reason, error, delay)
    SELECT id, attempts, fence, worker_id, claimed_at, now(),
        CASE WHEN final THEN status ELSE 'retried' END, reason, error, CASE WHEN NOT final THEN coalesce(delay, 0) END
    FROM target WHERE was = 'running' AND status <> 'queued'
), appended AS (
    INSERT INTO messages (session_id, number, request_id, part, role, content, tool_calls, tool_call_id, metadata)
    SELECT s.id, s.last_number + m.part, t.id, m.part, m.role, m.content, m.tool_calls, m.tool_call_id, m.metadata
    FROM target AS t JOIN sessions AS s ON s.id = t.session_id
    JOIN json_to_recordset(_messages) AS m(request_id uuid, part smallint, role text, content text,
        tool_calls jsonb, tool_call_id text, metadata jsonb) ON m.request_id = t.id
    WHERE t.said ORDER BY s.id, m.part
), {CALLED}
SELECT coalesce(json_agg(json_build_array(id, origin, final, {COURSE})), '[]') INTO _ended FROM target;
"""  # noqa: S608 - the inserted text is the constants above

#: Sessions that have more hot messages now than a worker may load, and that nobody archives yet.
CROWDED = """
SELECT coalesce(json_agg(s.id), '[]') INTO _crowded FROM sessions AS s
WHERE s.id = ANY(_sessions) AND s.last_number - s.archived_through > _most_hot
    AND coalesce(s.restored_until < now(), true)
    AND NOT EXISTS (SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status = 'pending');
"""

END_AND_HAND_OVER = Procedure(
    "end",
    (
        "_users text[]",
        "_sessions bigint[]",
        "_positions bigint[]",
        "_endings json",
        "_messages json",
        "_calls json",
        "_concurrency int",
        "_most_hot int",
    ),
    declare="    _ended json;\n    _published json;\n    _crowded json;",
    body=f"""
{LOCK_USERS}
{END}
{NEXT_HEADS}
{PUBLISH_NEXT}
{CROWDED}
RETURN json_build_object('ended', _ended, 'published', _published, 'crowded', _crowded);
""",
)

#: What is being erased is waited for, and gone then: a call can refer to it no more.
HOLD_CALLED = """
PERFORM FROM requests WHERE id IN (SELECT request_id FROM json_to_recordset(_calls) AS c(request_id uuid))
ORDER BY id FOR KEY SHARE;
"""

ACCOUNT = Procedure(
    "account",
    ("_calls json",),
    body=f"{HOLD_CALLED}\nWITH {CALLED} SELECT NULL INTO _done;\nRETURN NULL;",
    declare="    _done json;",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """Which endings took effect, who is to be told of the outcomes, what is to be published next; and which sessions
    are to be archived."""

    ids: frozenset[UUID]
    outcomes: dict[str, list[UUID]]
    publications: list[Publication]
    crowded: tuple[int, ...] = ()
    courses: dict[UUID, Course] = field(default_factory=dict)

    def count(self, endings: Sequence[Ending]) -> None:
        """Tell what took effect. To be called once, when no more tries at the commit are to come."""
        effective = [one for one in endings if one.id in self.ids]
        signals.users_met([one.user_id for one in effective])
        for one in effective:
            _count(one, self.courses[one.id])


NOTHING = Ended(frozenset(), {}, [])

#: An ending whose commit went through although its answer was lost: the same fence, and the status it asked for. A
#: deferral leaves no attempt. Without a fence, whoever asks has seen the request unfinished a moment before.
IN_FORCE = """
SELECT r.id, r.origin, r.finished_at IS NOT NULL, i.fence IS NOT NULL OR a.request_id IS NOT NULL, r.attempts,
    extract(epoch FROM coalesce(a.finished_at, r.finished_at) - r.accepted_at)::float8, NULL,
    extract(epoch FROM a.finished_at - a.started_at)::float8, before.reason, a.worker_id::text
FROM unnest(%(ids)s::uuid[], %(fences)s::bigint[], %(statuses)s::text[]) AS i(id, fence, status)
JOIN requests AS r ON r.id = i.id
LEFT JOIN attempts AS a ON a.request_id = r.id AND a.fence = r.fence
    AND (i.fence IS NOT NULL OR a.outcome = i.status)
LEFT JOIN attempts AS before ON before.request_id = r.id AND before.number = a.number - 1
WHERE r.status = i.status AND CASE WHEN i.fence IS NULL THEN r.finished_at IS NOT NULL
    ELSE r.fence = i.fence AND (i.status = 'queued' OR a.request_id IS NOT NULL) END
"""


def in_force(database: Database, endings: Sequence[Ending]) -> Ended:
    """Those of `endings` that have taken effect already; for when a commit's fate is unknown.

    What such a commit published is not known any more: recovery finds it.
    """
    given = {
        "ids": [ending.id for ending in endings],
        "fences": [ending.fence for ending in endings],
        "statuses": [str(ending.status) for ending in endings],
    }
    with database.connection() as connection:
        return _ended(connection.execute(IN_FORCE, given).fetchall(), [])


def end(database: Database, endings: Sequence[Ending], *, concurrency: int, most_hot: int | None = None) -> Ended:
    """End the batch in one transaction and one round trip, and hand over to what comes next. Sessions with more than
    `most_hot` hot messages are told of, where that is given.

    An ending whose guard does not hold changes nothing, but for its calls, which are kept. A session has one
    running request, so a batch holds at most one ending with messages for each.
    """
    said = END_AND_HAND_OVER.call(
        database,
        sorted({ending.user_id for ending in endings}),
        [ending.session_id for ending in endings],
        [ending.position for ending in endings],
        json.dumps([_ending(ending) for ending in endings]),
        json.dumps([row for ending in endings for row in _messages(ending)]),
        json.dumps([row for one in endings for row in _calls(one.id, one.attempt, one.fence or 0, one.calls)]),
        concurrency,
        most_hot,
    )
    rows = [(UUID(id_), *facts) for id_, *facts in said["ended"]]
    return _ended(rows, [Publication.of(row) for row in said["published"]], said["crowded"])


def account(database: Database, request_id: UUID, attempt: int, fence: int, calls: Sequence[Call]) -> None:
    """Keep the calls of an attempt that has lost its claim: they were paid for."""
    ACCOUNT.call(database, json.dumps(list(_calls(request_id, attempt, fence, calls))))


def _ended(rows: Sequence[tuple[Any, ...]], publications: list[Publication], crowded: Sequence[int] = ()) -> Ended:
    outcomes: dict[str, list[UUID]] = {}
    for id_, origin, final, *_ in rows:
        if final:
            outcomes.setdefault(origin, []).append(id_)
    courses = {row[0]: Course(*row[3:]) for row in rows}
    return Ended(frozenset(courses), outcomes, publications, tuple(crowded), courses)


def _count(ending: Ending, course: Course) -> None:
    if course.was_running and ending.status is not Status.queued:  # which was put off, and was no attempt
        signals.attempt_ended(
            ending.status,
            course.attempts,
            waited=course.waited,
            ran=course.ran or 0,
            retried_for=course.retried_for,
        )
    if ending.status in OUTCOMES:
        signals.request_ended(
            ending.status, ending.user_id, seconds=course.age, attempts=course.attempts, trace_id=ending.trace_id
        )
    elif ending.status is Status.retrying and course.was_running:
        signals.retry_decided(ending.delay or 0)


def _ending(ending: Ending) -> dict[str, Any]:
    return {
        "id": str(ending.id),
        "fence": ending.fence,
        "status": ending.status,
        "reason": ending.reason,
        "error": ending.error,
        "delay": ending.delay,
        "countdown": ending.countdown,
        "final": ending.status in OUTCOMES,
        "said": bool(ending.messages),
    }


def _messages(ending: Ending) -> Iterator[dict[str, Any]]:
    for part, message in enumerate(ending.messages, start=1):
        yield {
            "request_id": str(ending.id),
            "part": part,
            "role": message.role,
            "content": message.content,
            "tool_calls": list(message.tool_calls) or None,
            "tool_call_id": message.tool_call_id,
            "metadata": message.metadata or None,
        }


def _calls(request_id: UUID, attempt: int, fence: int, calls: Sequence[Call]) -> Iterator[dict[str, Any]]:
    for nth, call in enumerate(calls):
        yield {"request_id": str(request_id), "attempt": attempt, "fence": fence, "nth": nth, **_facts(call)}


def _facts(call: Call) -> dict[str, Any]:
    return {
        "provider": call.provider,
        "model": call.model,
        "started_at": call.started_at.isoformat(),
        "first_token_at": call.first_token_at and call.first_token_at.isoformat(),
        "finished_at": call.finished_at.isoformat(),
        "status_code": call.status_code,
        "reason": call.reason,
        "input_tokens": call.usage.input_tokens,
        "output_tokens": call.usage.output_tokens,
        "cost": call.cost,
        "choice": call.choice,
    }
