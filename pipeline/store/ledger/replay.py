"""Replay: what ended without an answer is asked once more, as a new request at its session's tail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pipeline.schemas import Status
from pipeline.store.database import Database
from pipeline.store.ledger.accept import LOCK_USERS, NEW_REQUESTS, NEW_REQUESTS_DECLARE
from pipeline.store.ledger.records import Accepted, Publication
from pipeline.store.procedures import Procedure

#: What may be replayed, as long as its text has not gone into the history.
REPLAYED = (Status.failed, Status.expired, Status.cancelled)

#: The original's row says all: what was said does not leave the database. Its key stays its own.
ORIGINALS = """
SELECT coalesce(json_agg(json_build_object(
        'ord', w.ord, 'id', w.id, 'user_id', r.user_id, 'conversation_id', s.conversation_id, 'agent', r.agent,
        'priority', r.priority, 'text', r.text, 'metadata', r.metadata, 'origin', w.origin,
        'stream_key', w.stream_key, 'max_attempts', r.max_attempts, 'timeout', r.timeout,
        'deadline', extract(epoch FROM r.deadline - r.accepted_at)::float8, 'again', false, 'retry_of', r.id)
    ) FILTER (WHERE r.status = ANY(_replayed) AND r.text IS NOT NULL AND live.id IS NULL), '[]'),
    coalesce(json_agg(json_build_array(w.ord, r.status, r.text IS NOT NULL, live.id)), '[]')
INTO _items, _facts
FROM json_to_recordset(_replays) AS w(ord int, id uuid, original uuid, origin text, stream_key text)
JOIN requests AS r ON r.id = w.original JOIN sessions AS s ON s.id = r.session_id
LEFT JOIN requests AS live ON live.retry_of = r.id AND live.finished_at IS NULL AND live.id <> w.id;
"""

REPLAY = Procedure(
    "replay",
    ("_replays json", "_replayed text[]", "_concurrency int"),
    declare=f"    _users text[];\n    _items json;\n    _facts json;\n{NEW_REQUESTS_DECLARE}",
    body=f"""
SELECT array_agg(DISTINCT r.user_id ORDER BY r.user_id) INTO _users
FROM json_to_recordset(_replays) AS w(original uuid) JOIN requests AS r ON r.id = w.original;
{LOCK_USERS}
{ORIGINALS}
{NEW_REQUESTS}
RETURN json_build_object('published', _published, 'facts', _facts);
""",  # noqa: S608 - the inserted texts are constants
)


@dataclass(frozen=True, slots=True)
class Replay:
    """A request that is to be asked again, and what the new one is to be known by."""

    original: UUID
    id: UUID
    origin: str
    stream_key: bytes


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """Why there is no replay: None for a request that is not known."""

    why: str | None


def replay(
    database: Database, replays: Sequence[Replay], *, concurrency: int
) -> tuple[list[Accepted | NotReplayed], list[Publication]]:
    """Accept replays of what ended without an answer, each original named once, in one round trip.

    Returns what became of each, and what is to be published. To try again after a lost connection does no harm.
    """
    said = REPLAY.call(
        database,
        json.dumps([_asked(ord_, one) for ord_, one in enumerate(replays)]),
        list(REPLAYED),
        concurrency,
    )
    facts = {ord_: rest for ord_, *rest in said["facts"]}
    return (
        [_result(one, facts.get(ord_)) for ord_, one in enumerate(replays)],
        [Publication.of(row) for row in said["published"]],
    )


def _asked(ord_: int, one: Replay) -> dict[str, Any]:
    return {
        "ord": ord_,
        "id": str(one.id),
        "original": str(one.original),
        "origin": one.origin,
        "stream_key": one.stream_key.hex(),
    }


def _result(one: Replay, facts: list[Any] | None) -> Accepted | NotReplayed:
    if facts is None:
        return NotReplayed(None)
    status, has_text, live = facts
    if live is not None:
        return NotReplayed(f"its replay {live} has no outcome yet")
    if status not in REPLAYED:
        return NotReplayed("it succeeded" if status == Status.succeeded else f"it has no outcome yet, but is {status}")
    if not has_text:
        return NotReplayed("it was interrupted, and what was said is in the history")
    return Accepted(one.id, one.origin, one.stream_key, None)
