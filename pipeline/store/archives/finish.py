"""Finish: in one transaction an archive is live, its messages leave the table, and the summary tells of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.store.archives.records import Rules, Written
from pipeline.store.database import Database
from pipeline.store.procedures import Procedure

#: Seconds until a failed archive is tried again: first, and at most. Doubled with each failure.
RETRY_DELAY, RETRY_DELAY_MAX = 30.0, 3600.0

#: Whoever holds one session never waits for another here: an outcome's commit may hold several, in any order.
LOCK = """
_locked := ARRAY(
    SELECT s.id FROM sessions AS s JOIN archives AS a ON a.session_id = s.id
    WHERE a.id = ANY(_ids) AND a.status = 'pending' ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED);
"""

#: What the row trigger of archives does with it: `archived_through` moves on.
LIVE = """
WITH live AS (
    UPDATE archives AS a SET status = 'live', live_at = now(), sha256 = decode(w.sha256, 'hex'), bytes = w.bytes,
        error = NULL
    FROM json_to_recordset(_written) AS w(id bigint, sha256 text, bytes bigint)
    WHERE a.id = w.id AND a.status = 'pending' AND a.session_id = ANY(_locked)
    RETURNING a.id, a.message_count
)
SELECT coalesce(array_agg(id), '{}'), coalesce(json_agg(json_build_array(id, message_count)), '[]')
INTO _done, _told FROM live;
"""

LEAVE = """
DELETE FROM messages AS m USING archives AS a
WHERE a.id = ANY(_done) AND m.session_id = a.session_id AND m.number BETWEEN a.first_number AND a.last_number;
"""

SUM_UP = """
INSERT INTO summaries AS s (session_id, text, first_number, through_number, by, tokens)
SELECT a.session_id, y.text, y.first_number, y.through_number, y.by, y.tokens
FROM json_to_recordset(_written) AS w(id bigint, summary json)
CROSS JOIN json_to_record(w.summary) AS y(text text, first_number bigint, through_number bigint, by text, tokens bigint)
JOIN archives AS a ON a.id = w.id
WHERE a.id = ANY(_done) AND y.text IS NOT NULL
ON CONFLICT (session_id) DO UPDATE SET text = excluded.text, first_number = excluded.first_number,
    through_number = excluded.through_number, by = excluded.by, tokens = excluded.tokens, made_at = now()
WHERE s.through_number < excluded.through_number;
"""

SETTLE = """
UPDATE sessions AS s SET restored_until = NULL,
    oldest_hot_at = (SELECT created_at FROM messages AS m WHERE m.session_id = s.id ORDER BY number LIMIT 1),
    grown_at = CASE WHEN s.last_number - s.archived_through > _window THEN s.grown_at END
WHERE s.id IN (SELECT session_id FROM archives WHERE id = ANY(_done));
"""

FINISH = Procedure(
    "finish",
    ("_ids bigint[]", "_written json", "_window int"),
    declare="    _locked bigint[];\n    _done bigint[];\n    _told json;\n    _left json;",
    body=f"""
{LOCK}
{LIVE}
{LEAVE}
{SUM_UP}
{SETTLE}
SELECT coalesce(json_agg(id), '[]') INTO _left FROM archives WHERE id = ANY(_ids) AND status = 'pending';
RETURN json_build_object('done', _told, 'left', _left);
""",  # noqa: S608 - the inserted texts are the constants above
)

FAILED = """
UPDATE archives SET failures = failures + 1, error = %(error)s,
    next_try_at = now() + least(%(cap)s, %(delay)s * 2 ^ least(failures, 20)) * interval '1 second'
WHERE id = %(id)s AND status = 'pending'
"""


ERASED = "SELECT id FROM unnest(%s::bigint[]) AS i(id) WHERE NOT EXISTS (SELECT FROM archives AS a WHERE a.id = i.id)"


@dataclass(frozen=True, slots=True)
class Finished:
    """The messages of each archive that is live now, by its id; and those that wait for whoever holds their session.

    One in neither was finished by another, or erased.
    """

    done: dict[int, int]
    left: frozenset[int]


def finish(database: Database, written: Sequence[Written], rules: Rules) -> Finished:
    """Let the archives take the place of their messages. `left` is to be tried again, a moment later."""
    ids = [one.id for one in written]
    said = FINISH.call(database, ids, json.dumps([_row(one) for one in written]), rules.window)
    return Finished(dict(said["done"]), frozenset(said["left"]))


def erased(database: Database, ids: Collection[int]) -> frozenset[int]:
    """Those of these archives that are known no more."""
    with database.connection() as connection:
        return frozenset(row[0] for row in connection.execute(ERASED, [list(ids)]))


def failed(database: Database, archive_id: int, error: str) -> None:
    """Writing it failed, by an error of that class: nobody tries again for a while, longer after each failure."""
    given = {"id": archive_id, "error": error, "delay": RETRY_DELAY, "cap": RETRY_DELAY_MAX}
    with database.connection() as connection:
        connection.execute(FAILED, given)


def _row(one: Written) -> dict[str, Any]:
    summary = asdict(one.summary) if one.summary else {}
    return {"id": one.id, "sha256": one.sha256.hex(), "bytes": one.bytes, "summary": summary}
