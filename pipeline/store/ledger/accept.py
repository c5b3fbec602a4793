"""Accept: what is committed here is kept, whatever dies afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from pipeline.store.database import Database
from pipeline.store.ledger.claim import EARLY
from pipeline.store.ledger.records import Accepted, NewRequest, Publication
from pipeline.store.procedures import Procedure

_ITEMS = """
    json_to_recordset(_items) AS i(
        ord int, id uuid, user_id text, conversation_id text, agent text, priority smallint, text text,
        metadata jsonb, idempotency_key text, content_hash text, origin text, stream_key text,
        max_attempts smallint, timeout float8, deadline float8, traceparent text, again bool, on_busy text,
        retry_of uuid)
"""

#: From here to the commit nobody else accepts or hands on a request of these users. One who was erased meanwhile, and
#: may be made anew by another, is not held, and is no more among them.
LOCK_USERS = """
_users := ARRAY(SELECT user_id FROM users WHERE user_id = ANY(_users) ORDER BY user_id FOR NO KEY UPDATE);
"""

NEW_USERS = "INSERT INTO users (user_id) SELECT unnest(_users) ORDER BY 1 ON CONFLICT DO NOTHING;"

#: Where one was erased between the two statements, it is done anew from the start: to make that one known while others
#: are held would be out of order, and end in a deadlock with whoever goes by it.
HOLD_USERS = f"""
_wanted := cardinality(_users);
{NEW_USERS}
{LOCK_USERS}
IF cardinality(_users) < _wanted THEN
    RAISE serialization_failure USING MESSAGE = 'a user was erased meanwhile';
END IF;
"""

NEW_SESSIONS = f"""
INSERT INTO sessions (user_id, conversation_id)
SELECT DISTINCT i.user_id, i.conversation_id FROM {_ITEMS}
WHERE NOT EXISTS (SELECT FROM sessions AS s
                  WHERE s.user_id = i.user_id AND s.conversation_id = i.conversation_id)
ORDER BY 1, 2 ON CONFLICT DO NOTHING;
"""  # noqa: S608 - the inserted text is the constant above

#: A statement of its own, after the locks: it must see what their last holders committed.
_STORE = f"""
WITH candidate AS (
    SELECT i.*, s.id AS session_id, s.accepted, row_number() OVER line AS place,
        EXISTS (SELECT FROM requests AS r WHERE r.session_id = s.id AND r.head) AS busy
    FROM {_ITEMS} JOIN sessions AS s ON s.user_id = i.user_id AND s.conversation_id = i.conversation_id
    WHERE NOT i.again AND NOT EXISTS (SELECT FROM requests AS r WHERE r.id = i.id)
        AND (i.idempotency_key IS NULL OR NOT EXISTS (
            SELECT FROM requests AS r WHERE r.user_id = i.user_id AND r.idempotency_key = i.idempotency_key))
    WINDOW line AS (PARTITION BY s.id ORDER BY i.ord)
), fresh AS (
    -- of those to be rejected while the session is busy, only the first of an idle session is stored
    SELECT *, row_number() OVER line AS nth, row_number() OVER line = 1 AND NOT busy AS head
    FROM candidate WHERE on_busy IS DISTINCT FROM 'reject' OR NOT busy AND place = 1
    WINDOW line AS (PARTITION BY session_id ORDER BY ord)
), ranked AS (
    SELECT *, CASE WHEN head THEN min(priority) OVER (PARTITION BY session_id) ELSE priority END AS rank FROM fresh
), placed AS (
    SELECT *, head AND row_number() OVER (PARTITION BY user_id, head ORDER BY rank, ord)
            + (SELECT count(*) FROM requests AS r
               WHERE r.user_id = ranked.user_id AND r.head AND r.published_at IS NOT NULL)
            <= _concurrency AS published
    FROM ranked
), counted AS (
    UPDATE sessions AS s SET accepted = s.accepted + n.size, last_active_at = now()
    FROM (SELECT session_id, count(*) AS size FROM placed GROUP BY session_id) AS n WHERE s.id = n.session_id
), stored AS (
    INSERT INTO requests (id, session_id, user_id, position, agent, priority, rank, text, metadata, idempotency_key,
        content_hash, origin, stream_key, head, max_attempts, timeout, traceparent, accepted_at, deadline, due_at,
        published_at, queue, publications, retry_of)
    SELECT id, session_id, user_id, accepted + nth, agent, priority, rank, text, metadata, idempotency_key,
        decode(content_hash, 'hex'), origin, decode(stream_key, 'hex'), head, max_attempts, timeout, traceparent,
        now(), now() + deadline * interval '1 second', now(),
        CASE WHEN published THEN now() END, CASE WHEN published THEN rank END, published::int, retry_of
    FROM placed ORDER BY ord
)
SELECT coalesce(json_agg(json_build_array(id, user_id, conversation_id, rank, 1, traceparent))
        FILTER (WHERE published), '[]'),
    json_agg(json_build_object('ord', ord, 'session_id', session_id, 'priority', priority, 'on_busy', on_busy))
        FILTER (WHERE NOT head),
    (SELECT json_agg(ord) FROM candidate WHERE on_busy = 'reject' AND (busy OR place > 1))
INTO _published, _behind, _busy FROM placed;
"""  # noqa: S608 - the inserted text is the constant above

#: For what now waits behind its session's head: that takes the highest priority that waits there. Whatever is locked
#: for that, or to be interrupted, and could be claimed now, is published again: a claim passes over it meanwhile, and
#: its message is spent. What runs, or waits for its time, moves when it is due; what is interrupted ends.
_PRESS = f"""
WITH behind AS (
    SELECT session_id, min(priority) AS rank, min(ord) FILTER (WHERE on_busy = 'interrupt') AS interrupter
    FROM json_to_recordset(_behind) AS b(ord int, session_id bigint, priority smallint, on_busy text)
    GROUP BY session_id
), hurry AS (
    SELECT h.id, least(h.rank, behind.rank) AS rank,
        h.status <> 'running' AND h.published_at IS NOT NULL AND h.due_at <= clock_timestamp() + {EARLY} AS moves
    FROM behind JOIN requests AS h ON h.session_id = behind.session_id AND h.head
    WHERE CASE WHEN behind.interrupter IS NULL THEN h.rank > behind.rank ELSE h.status <> 'running' END
    FOR NO KEY UPDATE OF h
), hurried AS (
    UPDATE requests AS h SET rank = hurry.rank,
        published_at = CASE WHEN hurry.moves THEN now() ELSE h.published_at END,
        queue = CASE WHEN hurry.moves THEN hurry.rank ELSE h.queue END,
        publications = h.publications + hurry.moves::int
    FROM hurry WHERE h.id = hurry.id
    RETURNING h.id, h.user_id, h.session_id, h.queue, h.publications, h.traceparent, hurry.moves
), interrupted AS (
    UPDATE requests AS h SET interrupted_at = now()
    FROM behind
    WHERE behind.interrupter IS NOT NULL AND h.session_id = behind.session_id AND h.head AND h.status = 'running'
        AND h.interrupted_at IS NULL
    RETURNING behind.interrupter AS ord, h.id, h.worker_id
)
SELECT (SELECT coalesce(json_agg(one), '[]') FROM (
        SELECT json_array_elements(_published)
        UNION ALL SELECT json_build_array(h.id, h.user_id, s.conversation_id, h.queue, h.publications, h.traceparent)
        FROM hurried AS h JOIN sessions AS s ON s.id = h.session_id WHERE h.moves) AS p(one)),
    (SELECT json_agg(json_build_array(ord, id, worker_id)) FROM interrupted)
INTO _published, _interrupted;
"""  # noqa: S608 - likewise

#: Those that are to be interrupted. A statement of its own: one that a claim holds is running afterwards, and the next
#: statement is to see that. No others are held: a claim passes over them, and their message would be spent for nothing.
_HOLD_HEADS = """
PERFORM FROM requests AS h WHERE h.head AND h.session_id IN (
    SELECT session_id FROM json_to_recordset(_behind) AS b(session_id bigint, on_busy text)
    WHERE on_busy = 'interrupt') ORDER BY h.id FOR NO KEY UPDATE;
"""

#: Most sessions are idle, and have nothing behind a head: the other statements are not even begun then.
NEW_REQUESTS = f"{_STORE}\nIF _behind IS NOT NULL THEN\n{_HOLD_HEADS}\n{_PRESS}\nEND IF;"

#: What the above declares.
NEW_REQUESTS_DECLARE = "    _published json;\n    _behind json;\n    _busy json;\n    _interrupted json;"

KNOWN_KEYS = f"""
SELECT json_agg(json_build_array(i.ord, r.id, r.origin, encode(r.stream_key, 'hex'), encode(r.content_hash, 'hex')))
INTO _known
FROM {_ITEMS} JOIN requests AS r ON r.user_id = i.user_id AND r.idempotency_key = i.idempotency_key;
"""  # noqa: S608 - likewise

LOOK_UP = """
SELECT k.ord, r.id, r.origin, r.stream_key, r.content_hash
FROM json_array_elements(%s::json) WITH ORDINALITY AS k(key, ord)
JOIN requests AS r ON r.user_id = k.key ->> 0 AND r.idempotency_key = k.key ->> 1
"""

ACCEPT = Procedure(
    "accept",
    ("_users text[]", "_items json", "_with_keys bool", "_concurrency int"),
    declare=f"    _wanted int;\n    _known json;\n{NEW_REQUESTS_DECLARE}",
    body=f"""
{HOLD_USERS}
{NEW_SESSIONS}
{NEW_REQUESTS}
IF _with_keys THEN
{KNOWN_KEYS}
END IF;
RETURN json_build_object('published', _published, 'known', coalesce(_known, '[]'),
    'busy', coalesce(_busy, '[]'), 'interrupted', coalesce(_interrupted, '[]'));
""",
)


def accept(
    database: Database, batch: Sequence[NewRequest], *, concurrency: int
) -> tuple[list[Accepted], list[Publication]]:
    """Store the batch, in its order, in one round trip.

    Returns what became of each, and what may run at once: the caller publishes that, after this has returned.
    Accepting the same id again stores nothing, so that a commit whose fate is unknown can be tried again.
    """
    said = ACCEPT.call(
        database,
        sorted({new.user_id for new in batch}),
        json.dumps(list(_items(batch))),
        any(new.idempotency_key is not None for new in batch),
        concurrency,
    )
    known = {ord_: _known(*facts) for ord_, *facts in said["known"]}
    busy = _with_their_likes(batch, said["busy"])
    if any(
        new.idempotency_key is not None and ord_ not in known and ord_ not in busy for ord_, new in enumerate(batch)
    ):
        # What had the key was there when it was stored by, and forgotten when it was looked for.
        return accept(database, batch, concurrency=concurrency)
    interrupted = {ord_: (UUID(id_), UUID(worker)) for ord_, id_, worker in said["interrupted"]}
    return (
        [
            replace(known.get(ord_) or _as_stored(new, busy=ord_ in busy), interrupts=interrupted.get(ord_))
            for ord_, new in enumerate(batch)
        ],
        [Publication.of(row) for row in said["published"]],
    )


def look_up(database: Database, keys: Sequence[tuple[str, str]]) -> list[Accepted | None]:
    """The requests that these users accepted before under these idempotency keys, in one round trip."""
    with database.connection() as connection:
        rows = connection.execute(LOOK_UP, [json.dumps(keys)]).fetchall()
    found = {ord_: Accepted(*facts) for ord_, *facts in rows}
    return [found.get(ord_) for ord_ in range(1, len(keys) + 1)]


def _known(id_: str, origin: str, stream_key: str, content_hash: str | None) -> Accepted:
    return Accepted(UUID(id_), origin, bytes.fromhex(stream_key), bytes.fromhex(content_hash) if content_hash else None)


def _as_stored(new: NewRequest, *, busy: bool) -> Accepted:
    return Accepted(new.id, new.origin, new.stream_key, new.content_hash, busy)


def _with_their_likes(batch: Sequence[NewRequest], busy: Sequence[int]) -> set[int]:
    """What was rejected, and what stands in the same batch for a second time."""
    rejected = [batch[ord_] for ord_ in busy]
    keys = {(new.user_id, new.idempotency_key) for new in rejected if new.idempotency_key is not None}
    return {*busy, *(ord_ for ord_, new in enumerate(batch) if (new.user_id, new.idempotency_key) in keys)}


def _items(batch: Sequence[NewRequest]) -> Iterator[dict[str, Any]]:
    seen = set()
    for ord_, new in enumerate(batch):
        key = (new.user_id, new.idempotency_key)
        yield {
            "ord": ord_,
            "id": str(new.id),
            "user_id": new.user_id,
            "conversation_id": new.conversation_id,
            "agent": new.agent,
            "priority": new.priority,
            "text": new.text,
            "metadata": new.metadata,
            "idempotency_key": new.idempotency_key,
            "content_hash": new.content_hash and new.content_hash.hex(),
            "origin": new.origin,
            "stream_key": new.stream_key.hex(),
            "max_attempts": new.max_attempts,
            "timeout": new.timeout,
            "deadline": new.deadline,
            "traceparent": new.traceparent,
            "again": new.idempotency_key is not None and key in seen,
            "on_busy": new.on_busy,
        }
        seen.add(key)
