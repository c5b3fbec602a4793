"""Take: of all workers that are handed a session, one at a time archives it; a pending row fixes what it takes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from pipeline.store.archives.records import Candidate, Pending, Rules
from pipeline.store.database import Database
from pipeline.store.procedures import Procedure

#: Seconds for which a session is left to whoever has taken it. Should that one die, another goes on after that; should
#: it only be slow, both write the same.
HOLD = 600.0

#: Later than any archive of the session, so that a clock that was set back gives no name twice.
CANDIDATES = """
SELECT s.id, s.user_id, s.conversation_id,
    greatest(now(), (SELECT max(archived_at) FROM archives AS a WHERE a.session_id = s.id) + interval '1 millisecond')
FROM sessions AS s WHERE s.id = ANY(%s) ORDER BY s.id
"""

#: A session's row is held by whoever appends to it, takes from it or returns to it; another's is left for later.
LOCK_SESSIONS = """
_locked := ARRAY(SELECT id FROM sessions WHERE id = ANY(_sessions) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
"""

#: What somebody began and did not finish comes first: the same range under the same name.
RESUME = """
WITH again AS (
    UPDATE archives SET next_try_at = now() + _hold * interval '1 second'
    WHERE session_id = ANY(_locked) AND status = 'pending' AND next_try_at <= now() RETURNING id
)
SELECT coalesce(array_agg(id), '{}') INTO _taken FROM again;
"""

#: What a message takes beside its text: names, numbers, ids, time. Escaped, a byte of text takes six at most.
_PLAIN = """
    SELECT number, part, created_at, content, sum(octet_length(content)) OVER (ORDER BY number) AS through,
        260 + 6 * coalesce(octet_length(tool_call_id), 0) + coalesce(octet_length(tool_calls::text), 0)
            + coalesce(octet_length(metadata::text), 0) AS rest
    FROM (SELECT * FROM messages
          WHERE session_id = due.id AND number > due.archived_through AND number <= cut.through
          ORDER BY number LIMIT _most_messages + 1) AS first
"""

#: Bytes as JSON has them. Postgres knows a text's length without reading it: where all must fit, that is enough, and
#: what cannot fit is not looked at. A token is about four bytes.
_SIZES = f"""
    SELECT number, part, created_at, (octet_length(content) + 3) / 4 AS tokens,
        rest + CASE WHEN sum(rest + 6 * octet_length(content)) OVER () <= _most_bytes THEN octet_length(content)
            ELSE octet_length(to_json(content)::text) END AS size
    FROM ({_PLAIN}) AS plain WHERE through - octet_length(content) <= _most_bytes
"""  # noqa: S608 - the inserted text is the constant above

#: Whole turns, as many as one object may hold; of a turn that is too large for one, what fits.
FIX_RANGES = f"""
WITH due AS (
    SELECT s.*, s.last_active_at < now() - _idle * interval '1 second' OR _whole AS whole FROM sessions AS s
    WHERE s.id = ANY(_locked) AND s.last_number > s.archived_through
        AND NOT EXISTS (SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status = 'pending')
        AND (_force OR coalesce(s.restored_until < now(), true) AND (
            s.last_number - s.archived_through > least(_most_hot, _threshold)
            OR s.last_number - s.archived_through > _window AND s.oldest_hot_at < now() - _age * interval '1 second'
            OR s.last_active_at < now() - _idle * interval '1 second'
            OR (SELECT part > 1 FROM messages AS m WHERE m.session_id = s.id AND m.number = s.archived_through + 1)))
), ranges AS (
    SELECT due.id AS session_id, cut.through, taken.*
    FROM due CROSS JOIN LATERAL (
        SELECT CASE WHEN due.whole THEN due.last_number ELSE (
            SELECT number - 1 FROM messages
            WHERE session_id = due.id AND part = 1 AND number <= due.last_number - _window + 1
            ORDER BY number DESC LIMIT 1) END AS through
    ) AS cut CROSS JOIN LATERAL (
        SELECT min(number) AS first, max(number) AS last, count(*) AS count, sum(tokens)::bigint AS tokens,
            min(created_at) AS oldest_at, max(created_at) AS newest_at
        FROM (
            SELECT *, coalesce(max(number) FILTER (WHERE fits AND ends) OVER (),
                max(number) FILTER (WHERE fits) OVER ()) AS last_fitting
            FROM (
                SELECT *, row_number() OVER line <= _most_messages
                        AND (row_number() OVER line = 1 OR sum(size) OVER line <= _most_bytes) AS fits,
                    coalesce(lead(part) OVER line, 1) = 1 AS ends
                FROM ({_SIZES}) AS message WINDOW line AS (ORDER BY number)
            ) AS measured
        ) AS marked WHERE number <= last_fitting
    ) AS taken
), fixed AS (
    INSERT INTO archives (session_id, first_number, last_number, message_count, token_count, oldest_at, newest_at,
        name, archived_at, next_try_at)
    SELECT r.session_id, r.first, r.last, r.count, r.tokens, r.oldest_at, r.newest_at,
        n.name, n.archived_at, now() + _hold * interval '1 second'
    FROM ranges AS r JOIN json_to_recordset(_names) AS n(session_id bigint, name text, archived_at timestamptz)
        ON n.session_id = r.session_id
    WHERE r.count > 0 ORDER BY r.session_id
    RETURNING id, session_id, last_number
), settled AS (
    -- the last turn is all there is: until something is appended there is nothing to do
    UPDATE sessions AS s SET grown_at = NULL FROM ranges AS r WHERE s.id = r.session_id AND r.count = 0
)
SELECT _taken || coalesce(array_agg(f.id), '{{}}'),
    coalesce(array_agg(f.id) FILTER (WHERE f.last_number < r.through), '{{}}')
INTO _taken, _more
FROM fixed AS f JOIN ranges AS r ON r.session_id = f.session_id;
"""  # noqa: S608 - the inserted text is the constant above

#: What an archive takes in memory, about: what is escaped is short, or was counted as it is when the range was fixed.
_SIZE = """
    SELECT coalesce(sum(260 + octet_length(m.content) + coalesce(octet_length(m.tool_call_id), 0)
        + coalesce(octet_length(m.tool_calls::text), 0) + coalesce(octet_length(m.metadata::text), 0)), 0)::bigint
    FROM messages AS m WHERE m.session_id = a.session_id AND m.number BETWEEN a.first_number AND a.last_number
"""

#: A statement of its own, which sees the new rows.
TELL = f"""
SELECT coalesce(json_agg(json_build_array(a.id, a.session_id, s.user_id, s.conversation_id, a.name, a.first_number,
    a.last_number, a.message_count, a.token_count, a.oldest_at, a.newest_at, a.archived_at, a.failures, s.created_at,
    ({_SIZE}), a.id = ANY(_more)) ORDER BY a.session_id), '[]')
INTO _told FROM archives AS a JOIN sessions AS s ON s.id = a.session_id WHERE a.id = ANY(_taken);
"""  # noqa: S608 - the inserted text is the constant above

TAKE = Procedure(
    "take",
    (
        "_sessions bigint[]",
        "_names json",
        "_hold float8",
        "_force bool",
        "_whole bool",
        "_most_hot int",
        "_threshold int",
        "_window int",
        "_age float8",
        "_idle float8",
        "_most_messages int",
        "_most_bytes bigint",
    ),
    declare="    _locked bigint[];\n    _taken bigint[];\n    _more bigint[];\n    _told json;",
    body=f"{LOCK_SESSIONS}\n{RESUME}\n{FIX_RANGES}\n{TELL}\nRETURN _told;",
)

#: As the document has it. Each row as a line, in the columns' order.
HISTORY = """
SELECT a.id, (SELECT json_agg(m)::text FROM (
    SELECT number, role, content, created_at, request_id, part, tool_calls, tool_call_id, metadata FROM messages
    WHERE session_id = a.session_id AND number BETWEEN a.first_number AND a.last_number ORDER BY number) AS m)
FROM archives AS a WHERE a.id = ANY(%s)
"""


def candidates(database: Database, session_ids: Collection[int]) -> list[Candidate]:
    """Those of `session_ids` that there are."""
    with database.connection() as connection:
        return [Candidate(*row) for row in connection.execute(CANDIDATES, [list(session_ids)])]


def take(
    database: Database,
    names: Sequence[tuple[Candidate, str]],
    rules: Rules,
    *,
    force: bool = False,
    whole: bool = False,
    hold: float = HOLD,
) -> list[Pending]:
    """Take what is due of these sessions, each with the name of its next archive, and commit a pending row for each.

    What a dead worker left pending is taken as it is, under its own name. With `force` all are due, even restored ones;
    with `whole` nothing stays hot. What is not returned is not due, or somebody else's.
    """
    given = [
        {"session_id": one.session_id, "name": name, "archived_at": one.archived_at.isoformat()} for one, name in names
    ]
    ids = sorted(one.session_id for one, _ in names)
    found = TAKE.call(database, ids, json.dumps(given), hold, force, whole, *rules.as_parameters().values())
    return [_pending(row) for row in found]


def histories(database: Database, archives: Sequence[Pending]) -> dict[int, str | None]:
    """The messages of each archive as JSON, by its id; None for one that has none any more."""
    with database.connection() as connection:
        return dict(connection.execute(HISTORY, [[one.id for one in archives]]).fetchall())


def _pending(row: list[object]) -> Pending:
    times = {9, 10, 11, 13}
    return Pending(*(datetime.fromisoformat(str(value)) if at in times else value for at, value in enumerate(row)))  # type: ignore[arg-type]  # as the function's SELECT lists them
