"""Erase: all rows of a few sessions go in one transaction, and what is to go elsewhere is noted in it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pipeline.store.archives.take import HOLD as WRITING
from pipeline.store.database import Database
from pipeline.store.erasures.forget import FORGET_USER
from pipeline.store.erasures.records import Erased
from pipeline.store.ledger.accept import LOCK_USERS
from pipeline.store.ledger.handover import PUBLISH_NEXT
from pipeline.store.ledger.records import Publication
from pipeline.store.procedures import Procedure

#: The user's row first, as everybody does, so that nothing is accepted or ended meanwhile; then all that may be
#: referred to by what others are about to write.
LOCK = f"""
_user := (SELECT user_id FROM sessions WHERE id = ANY(_sessions) LIMIT 1);
_users := ARRAY[_user];
{LOCK_USERS}
_sessions := ARRAY(SELECT id FROM sessions WHERE id = ANY(_sessions) ORDER BY id FOR UPDATE);
PERFORM FROM requests WHERE session_id = ANY(_sessions) ORDER BY id FOR UPDATE;
"""  # noqa: S608 - the inserted text is a constant

REQUESTS = """
DELETE FROM calls WHERE request_id IN (SELECT id FROM requests WHERE session_id = ANY(_sessions));
GET DIAGNOSTICS _calls = ROW_COUNT;
DELETE FROM attempts WHERE request_id IN (SELECT id FROM requests WHERE session_id = ANY(_sessions));
GET DIAGNOSTICS _attempts = ROW_COUNT;
WITH gone AS (
    DELETE FROM requests WHERE session_id = ANY(_sessions) RETURNING id, status, worker_id, origin, finished_at
)
SELECT count(*), count(*) FILTER (WHERE finished_at IS NULL),
    json_agg(json_build_array(origin, id)) FILTER (WHERE finished_at IS NULL),
    json_agg(json_build_array(worker_id, id)) FILTER (WHERE status = 'running'),
    array_agg(id) FILTER (WHERE finished_at IS NULL OR finished_at > now() - _streams_kept * interval '1 second')
INTO _requests, _unfinished, _cancelled, _running, _streams FROM gone;
"""

#: An archive that is pending may be written at this moment, by somebody who finds out afterwards.
ARCHIVES = """
WITH gone AS (
    DELETE FROM archives WHERE session_id = ANY(_sessions) RETURNING name, status, message_count, next_try_at
), condemned AS (
    INSERT INTO condemned_objects (name, erasure_id, written_until)
    SELECT name, _erasure, CASE WHEN status = 'pending' AND next_try_at > now()
        THEN least(next_try_at, now() + _writing * interval '1 second') ELSE now() END FROM gone
    ON CONFLICT (name) DO UPDATE SET erasure_id = excluded.erasure_id, due_at = now()
)
SELECT count(*), coalesce(sum(message_count) FILTER (WHERE status = 'live'), 0) INTO _archives, _archived FROM gone;
"""

MESSAGES = """
DELETE FROM messages WHERE session_id = ANY(_sessions);
GET DIAGNOSTICS _messages = ROW_COUNT;
DELETE FROM summaries WHERE session_id = ANY(_sessions);
GET DIAGNOSTICS _summaries = ROW_COUNT;
DELETE FROM sessions WHERE id = ANY(_sessions);
"""

#: A list is written anew only where something is added to it, for that takes time by its length. What `sessions` names
#: and is gone does no harm there.
NOTE = """
UPDATE erasures SET streams = CASE WHEN _streams IS NULL THEN streams ELSE streams || _streams END,
    session_count = session_count + cardinality(_sessions), message_count = message_count + _messages + _archived,
    archived_count = archived_count + _archived, archive_count = archive_count + _archives,
    summary_count = summary_count + _summaries, request_count = request_count + _requests,
    cancelled_count = cancelled_count + _unfinished, attempt_count = attempt_count + _attempts,
    call_count = call_count + _calls
WHERE id = _erasure;
"""

#: For a session of a million messages, all hot: it goes whole.
TIMEOUT = "5min"

_COUNTS = ["requests", "unfinished", "calls", "attempts", "archives", "archived", "messages", "summaries"]

#: The last session of a user who is to be forgotten may go with another erasure, of that session alone.
ERASE = Procedure(
    "erase",
    ("_erasure uuid", "_sessions bigint[]", "_streams_kept float8", "_writing float8", "_concurrency int"),
    declare="    _user text;\n    _users text[];\n    _streams uuid[];\n"
    "    _cancelled json;\n    _running json;\n    _published json;\n"
    + "\n".join(f"    _{count} bigint;" for count in _COUNTS),
    body=f"""
{LOCK}
IF _sessions = '{{}}' THEN
    RETURN NULL;
END IF;
{REQUESTS}
{ARCHIVES}
{MESSAGES}
{NOTE}
{PUBLISH_NEXT}
IF EXISTS (SELECT FROM erasures
           WHERE scope = 'user' AND (id = _erasure OR finished_at IS NULL AND sessions && _sessions)) THEN
{FORGET_USER}
END IF;
RETURN json_build_object('cancelled', coalesce(_cancelled, '[]'), 'running', coalesce(_running, '[]'),
    'published', _published);
""",
)


def erase(
    database: Database, erasure_id: UUID, session_ids: Sequence[int], *, streams_kept: float, concurrency: int
) -> Erased:
    """Erase sessions that an erasure names; they are one user's. Doing it again does nothing.

    `streams_kept` are the seconds after its end for which a request's stream may still be in the broker.
    """
    given = (erasure_id, list(session_ids), streams_kept, WRITING, concurrency)
    said = ERASE.call_patiently(database, *given, timeout=TIMEOUT)
    if said is None:
        return Erased()
    cancelled: dict[str, list[UUID]] = {}
    for origin, id_ in said["cancelled"]:
        cancelled.setdefault(origin, []).append(UUID(id_))
    running = tuple((UUID(worker), UUID(id_)) for worker, id_ in said["running"])
    return Erased(cancelled, running, tuple(Publication.of(row) for row in said["published"]))
