"""Conversations as tests like them, and a look at what became of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pipeline.archive import reading
from pipeline.archive.document import Document, parse
from pipeline.archive.storage import Storage
from pipeline.schemas import Message
from pipeline.store import archives, invariants
from pipeline.store.archives import Archive, Rules, Standing
from pipeline.store.database import Database
from tests.store.desk import Desk, Sql, answered

#: Due with more than four hot messages; two stay hot.
RULES = Rules(most_hot=4, threshold=4, window=2, age=3600, idle=30 * 86400)


def rules(**changes: Any) -> Rules:
    return replace(RULES, **changes)


@dataclass
class Library:
    """Fills sessions and looks at them. One conversation of one user, where a test does not say."""

    database: Database
    storage: Storage
    sql: Sql
    desk: Desk

    def converse(self, turns: int, *between: Message, user: str = "ada", conversation: str = "thesis") -> int:
        """Whole turns, of two messages each and those between; the session's id."""
        for number in range(turns):
            claimed = self.desk.running(user=user, conversation=conversation, text=f"Question {number + 1}?")
            self.desk.end(answered(claimed, f"Answer {number + 1}.", *between))
        return self.standing(user, conversation).session_id

    def fill(self, count: int, *, user: str = "ada", conversation: str = "thesis", size: int = 20) -> int:
        """Many messages at once, in turns of two; the session's id."""
        self.sql.execute("INSERT INTO users (user_id) VALUES (%s) ON CONFLICT DO NOTHING", [user])
        (session,) = self.sql.execute(
            "INSERT INTO sessions (user_id, conversation_id) VALUES (%s, %s) ON CONFLICT (user_id, conversation_id)"
            " DO UPDATE SET user_id = excluded.user_id RETURNING id",
            [user, conversation],
        ).fetchone() or (0,)
        self.sql.execute(
            "INSERT INTO messages (session_id, number, request_id, part, role, content) SELECT s.id, s.last_number + n,"
            " md5(s.id::text || '-' || (s.last_number + n + 1) / 2)::uuid, 2 - n %% 2,"
            " CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, n || repeat('x', %s)"
            " FROM sessions AS s, generate_series(1, %s) AS n WHERE s.id = %s",
            [size, count, session],
        )
        return int(session)

    def standing(self, user: str = "ada", conversation: str = "thesis") -> Standing:
        return archives.standing(self.database, user, conversation)

    def hot(self, session: int) -> list[int]:
        """The numbers of its messages in Postgres."""
        rows = self.sql.execute("SELECT number FROM messages WHERE session_id = %s ORDER BY 1", [session])
        return [number for (number,) in rows]

    def live(self, session: int) -> list[Archive]:
        return archives.live(self.database, session)

    def documents(self, session: int) -> list[Document]:
        return [parse(one.name, self.storage.get(one.name), sha256=one.sha256) for one in self.live(session)]

    def read(self, session: int) -> list[Message]:
        """All of it, archived or not."""
        return list(reading.messages(self.database, self.storage, session))

    def statuses(self, session: int) -> list[str]:
        rows = self.sql.execute("SELECT status FROM archives WHERE session_id = %s ORDER BY id", [session])
        return [status for (status,) in rows]

    def wait_over(self) -> None:
        """Whatever is pending may be tried again now."""
        self.sql.execute("UPDATE archives SET next_try_at = now() WHERE status = 'pending'")

    def assert_whole(self, session: int) -> None:
        """Every number once, in order, and no invariant broken."""
        found = self.read(session)
        (newest,) = self.sql.execute("SELECT last_number FROM sessions WHERE id = %s", [session]).fetchone() or (0,)
        assert [one.number for one in found] == list(range(1, newest + 1))
        assert invariants.check(self.database) == []
