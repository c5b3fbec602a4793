"""Begin: a committed row says what is to be erased, before anything is. From then on it will be, whatever dies."""

from __future__ import annotations

from uuid import UUID, uuid4

from pipeline.store.database import Database
from pipeline.store.erasures.forget import FORGET_USER
from pipeline.store.erasures.records import Scope, new_salt
from pipeline.store.ledger.accept import HOLD_USERS, LOCK_USERS
from pipeline.store.procedures import Procedure

#: Seconds for which an erasure is left to whoever has begun or resumed it.
HOLD = 60.0

#: Under the user's lock, so that no session is being accepted meanwhile. What is accepted later is not erased. One who
#: is not known, and is to be forgotten, is made known first, for the lock's sake: whoever accepts the first request of
#: that user would otherwise put a session under the row that goes here.
BEGIN = Procedure(
    "begin_erasure",
    (
        "_id uuid",
        "_users text[]",
        "_conversation text",
        "_salt bytea",
        "_user_hash bytea",
        "_conversation_hash bytea",
        "_hold float8",
    ),
    declare="    _user text := _users[1];\n    _wanted int;\n    _sessions bigint[];\n    _begun bool;",
    body=f"""
IF _conversation IS NULL THEN
{HOLD_USERS}
ELSE
{LOCK_USERS}
END IF;
_sessions := ARRAY(SELECT id FROM sessions WHERE user_id = _user AND conversation_id = _conversation
    UNION SELECT id FROM sessions WHERE user_id = _user AND _conversation IS NULL ORDER BY id);
INSERT INTO erasures (id, scope, salt, user_hash, conversation_hash, sessions, next_try_at)
SELECT _id, CASE WHEN _conversation IS NULL THEN 'user' ELSE 'session' END, _salt, _user_hash, _conversation_hash,
    _sessions, now() + _hold * interval '1 second'
ON CONFLICT (id) DO UPDATE SET stage = CASE WHEN excluded.sessions = '{{}}' THEN erasures.stage ELSE 'rows' END,
    sessions = ARRAY(SELECT unnest(erasures.sessions) UNION SELECT unnest(excluded.sessions) ORDER BY 1),
    next_try_at = excluded.next_try_at
WHERE erasures.finished_at IS NULL;
_begun := FOUND;
IF _conversation IS NULL THEN
{FORGET_USER}
END IF;
RETURN to_json(_begun);
""",  # noqa: S608 - the inserted texts are constants
)

UNFINISHED = "SELECT id, salt, user_hash, conversation_hash FROM erasures WHERE finished_at IS NULL AND scope = %s"


def begin(database: Database, scope: Scope, *, hold: float = HOLD) -> UUID:
    """Commit that this is to be erased. Returns the erasure; one of the same that is unfinished is gone on with."""
    id_ = _begun(database, scope)
    if id_ is None or not _begin(database, scope, id_, hold):  # it was finished a moment ago
        id_ = uuid4()
        _begin(database, scope, id_, hold)
    return id_


def _begin(database: Database, scope: Scope, id_: UUID, hold: float) -> bool:
    salt = new_salt()  # of one that was begun before, the first one stays
    user_hash, conversation_hash = scope.hashed(salt)
    given = (id_, [scope.user_id], scope.conversation_id, salt, user_hash, conversation_hash, hold)
    return bool(BEGIN.call(database, *given))


def _begun(database: Database, scope: Scope) -> UUID | None:
    with database.connection() as connection:
        for id_, salt, *hashes in connection.execute(UNFINISHED, [scope.name]):
            if tuple(hashes) == scope.hashed(salt):
                return UUID(str(id_))
    return None
