"""The ledger's verbs on one database, as short as tests like them, and the invariants as SQL."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg

from pipeline.schemas import Call, Message, Priority, Status
from pipeline.store.database import Connection, Database
from pipeline.store.ledger import Accepted, Claim, Ended, Ending, NewRequest, Publication, accept, claim, end, workers
from pipeline.store.ledger.accept import ACCEPT, _items

Sql = psycopg.Connection[tuple[Any, ...]]

#: Requests of one user published or running at once, where a test does not say.
CONCURRENCY = 3


def new(user: str = "ada", conversation: str = "thesis", **changes: Any) -> NewRequest:
    """A request that nobody has accepted yet."""
    usual = NewRequest(
        id=uuid4(),
        user_id=user,
        conversation_id=conversation,
        agent="chat",
        priority=Priority.normal,
        text="What did I cite?",
        metadata={},
        idempotency_key=None,
        content_hash=None,
        origin="here",
        stream_key=b"k" * 32,
        max_attempts=3,
        timeout=300.0,
        deadline=3600.0,
    )
    return replace(usual, **changes)


def ending(claimed: Claim, status: Status, **changes: Any) -> Ending:
    """The end of a running attempt."""
    usual = Ending(
        id=claimed.id,
        status=status,
        fence=claimed.fence,
        user_id=claimed.user_id,
        session_id=claimed.session_id,
        position=claimed.position,
        attempt=claimed.attempt,
    )
    return replace(usual, **changes)


def answered(claimed: Claim, answer: str = "Knuth.", *between: Message, calls: tuple[Call, ...] = ()) -> Ending:
    """The end of an attempt that went well: the question, what came in between, and the answer."""
    messages = (Message("user", claimed.text), *between, Message("assistant", answer))
    return ending(claimed, Status.succeeded, messages=messages, calls=calls)


class Desk:
    """Accepts, claims and ends, for one worker unless another is named."""

    def __init__(self, database: Database, concurrency: int = CONCURRENCY) -> None:
        self.database = database
        self.concurrency = concurrency
        self.worker_id = self.worker()

    def worker(self, lease: float = 600.0) -> UUID:
        id_ = uuid4()
        workers.register(self.database, id_, name="worker", pid=os.getpid(), lease=lease)
        return id_

    def accept(self, *batch: NewRequest) -> list[Publication]:
        return self.accepted(*batch)[1]

    def accepted(self, *batch: NewRequest) -> tuple[list[Accepted], list[Publication]]:
        return accept(self.database, batch, concurrency=self.concurrency)

    def claim(
        self, *ids: UUID, worker: UUID | None = None, window: int = 50, most_bytes: int = 1_000_000
    ) -> list[Claim]:
        return claim(self.database, worker or self.worker_id, ids, window=window, most_bytes=most_bytes)

    def claim_one(
        self, id_: UUID, *, worker: UUID | None = None, window: int = 50, most_bytes: int = 1_000_000
    ) -> Claim:
        (claimed,) = self.claim(id_, worker=worker, window=window, most_bytes=most_bytes)
        return claimed

    def end(self, *endings: Ending, most_hot: int | None = None) -> Ended:
        return end(self.database, endings, concurrency=self.concurrency, most_hot=most_hot)

    def running(self, **request: Any) -> Claim:
        """A request that this desk's worker runs."""
        one = new(**request)
        self.accept(one)
        return self.claim_one(one.id)

    def converse(self, turns: int = 1, **request: Any) -> None:
        """Whole turns of a conversation, one after the other."""
        for _ in range(turns):
            self.end(answered(self.running(**request)))


def accept_by(connection: Connection, one: NewRequest, concurrency: int = CONCURRENCY) -> list[list[Any]]:
    """Accept it by another's connection, but for the commit. Returns what is to be published after that."""
    said = ACCEPT._result(connection, ([one.user_id], json.dumps(list(_items([one]))), False, concurrency))
    return list(said["published"])


def row(sql: Sql, id_: UUID, columns: str) -> tuple[Any, ...]:
    """Columns of one request."""
    found = sql.execute(f"SELECT {columns} FROM requests WHERE id = %s", [id_]).fetchone()
    assert found is not None
    return found


#: Whoever waits for a lock.
WAITING = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def count(sql: Sql, of: str) -> int:
    """How many rows a `FROM` clause has."""
    found = sql.execute(f"SELECT count(*) FROM {of}").fetchone()
    assert found is not None
    return int(found[0])


#: What must never be, each a query that finds it.
VIOLATIONS = {
    "a session with unfinished requests whose head is not its first": """
        SELECT s.id FROM sessions AS s JOIN requests AS r ON r.session_id = s.id AND r.finished_at IS NULL
        GROUP BY s.id HAVING count(*) FILTER (WHERE r.head) <> 1
            OR min(r.position) <> min(r.position) FILTER (WHERE r.head)
    """,
    "a user with more published than allowed": """
        SELECT user_id FROM requests WHERE head AND published_at IS NOT NULL
        GROUP BY user_id HAVING count(*) > %(concurrency)s
    """,
    "a user with room whose due head waits": """
        SELECT user_id FROM requests WHERE head
        GROUP BY user_id HAVING count(*) FILTER (WHERE published_at IS NULL AND due_at <= now()) > 0
            AND count(*) FILTER (WHERE published_at IS NOT NULL) < %(concurrency)s
    """,
    "a session whose positions have gaps": """
        SELECT s.id FROM sessions AS s JOIN requests AS r ON r.session_id = s.id
        GROUP BY s.id HAVING array_agg(r.position ORDER BY r.position)
            IS DISTINCT FROM array(SELECT generate_series(1, s.accepted))
    """,
    "a session whose messages have gaps": """
        SELECT s.id FROM sessions AS s LEFT JOIN messages AS m ON m.session_id = s.id
        GROUP BY s.id HAVING count(m.number) <> s.last_number OR coalesce(max(m.number), 0) <> s.last_number
    """,
    "an answer that is not there once": """
        SELECT r.id FROM requests AS r LEFT JOIN messages AS m ON m.request_id = r.id AND m.role = 'user'
        WHERE r.interrupted_at IS NULL OR r.status <> 'cancelled'
        GROUP BY r.id HAVING count(m.number) <> (r.status = 'succeeded')::int
    """,
    "answers out of order": """
        SELECT a.request_id FROM messages AS a JOIN requests AS q ON q.id = a.request_id
        JOIN messages AS b ON b.session_id = a.session_id AND b.number > a.number
        JOIN requests AS p ON p.id = b.request_id WHERE p.position < q.position
    """,
    "an attempt that was not counted": """
        SELECT r.id FROM requests AS r LEFT JOIN attempts AS a ON a.request_id = r.id
        GROUP BY r.id HAVING count(a.number) <> r.attempts - (r.status = 'running')::int
    """,
}


def violations(sql: Sql, concurrency: int = CONCURRENCY) -> list[str]:
    """The invariants that do not hold."""
    given = {"concurrency": concurrency}
    return [what for what, query in VIOLATIONS.items() if sql.execute(query, given).fetchall()]
