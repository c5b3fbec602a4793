"""Whatever is done in whatever order, and wherever it is killed: every number of every session is there once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pydantic import SecretStr

from pipeline import Settings
from pipeline.archive import reading, restoring
from pipeline.archive.archiver import Archiver
from pipeline.archive.storage import Folder
from pipeline.archive.summary import Extractive
from pipeline.archive.verify import Finding, Verifier
from pipeline.courier import Courier
from pipeline.erasure import Eraser
from pipeline.errors import ArchiveBusy, StorageFailed
from pipeline.schemas import Message
from pipeline.store import archives
from pipeline.store.database import Database
from pipeline.store.erasures import Scope
from tests.archive.library import Library, rules
from tests.servers import Broker
from tests.store.desk import Desk
from tests.store.fixtures import EMPTY

#: Sessions that are worked on, by conversation. Those of one user whose names are alike.
CONVERSATIONS = ("a_b", "a/b", "A_B")

#: Where a process may die.
MOMENTS = ("before put", "within put", "after put", "before get", "after get", "before delete", "after delete")

TOOLS = (Message("assistant", "", tool_calls=({"id": "1"},)), Message("tool", "found", tool_call_id="1"))


class Killed(BaseException):
    """The process dies here: nobody catches it."""


class Mortal(Folder):
    """A folder whose user may be killed, or refused, at any step of its verbs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fate: tuple[str, type[BaseException]] | None = None

    def put(self, name: str, data: bytes) -> None:
        self._meet("before put")
        if self.fate and self.fate[0] == "within put":
            super().put(name, data[: len(data) // 2])
            self._meet("within put")
        super().put(name, data)
        self._meet("after put")

    def get(self, name: str) -> bytes:
        self._meet("before get")
        found = super().get(name)
        self._meet("after get")
        return found

    def delete(self, name: str) -> None:
        self._meet("before delete")
        super().delete(name)
        self._meet("after delete")

    def _meet(self, moment: str) -> None:
        if self.fate and self.fate[0] == moment:
            kind, self.fate = self.fate[1], None
            raise StorageFailed("act", "Refused") if kind is StorageFailed else kind


@dataclass
class World:
    """What the machine works on: one database, one folder."""

    settings: Settings
    database: Database
    sql: psycopg.Connection[tuple[Any, ...]]
    folder: Path


@pytest.fixture
def world(ledger_url: str, store: Database, broker: Broker) -> Iterator[World]:
    with psycopg.connect(ledger_url, autocommit=True) as sql, tempfile.TemporaryDirectory() as folder:
        given = Settings(database_url=SecretStr(ledger_url), broker_url=SecretStr(broker.url))
        with redis.Redis.from_url(broker.url) as client:
            client.config_set(
                "appendonly", "no"
            )  # its files are another test's, and would be rewritten for each erasure
        yield World(given, store, sql, Path(folder))


class Archiving(RuleBasedStateMachine):
    """Three conversations that grow, are archived, restored, erased and read while processes die.

    A further verb is a further rule; what it changes of what was said is changed in `said`.
    """

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.sql.execute(EMPTY)
        self.storage = Mortal(Path(tempfile.mkdtemp(dir=self.world.folder)))  # none of another machine's objects
        self.library = Library(self.world.database, self.storage, self.world.sql, Desk(self.world.database))
        self.archiver = Archiver(
            self.world.database, self.storage, Extractive(), rules(most_messages=5, most_bytes=3_000)
        )
        given, self.client = self.world.settings, redis.Redis.from_url(self.world.settings.broker)
        courier = Courier(given, self.client)
        self.eraser = Eraser(self.world.database, lambda: self.storage, courier, self.client, given)
        #: What was said in each conversation, oldest first.
        self.said: dict[str, list[str]] = {}

    def teardown(self) -> None:
        self.archiver.close()
        self.client.close()

    @rule(conversation=st.sampled_from(CONVERSATIONS), turns=st.integers(1, 4), tools=st.booleans())
    def append(self, conversation: str, turns: int, *, tools: bool) -> None:
        between = TOOLS if tools else ()
        self.library.converse(turns, *between, conversation=conversation)
        for number in range(turns):
            spoken = [f"Question {number + 1}?", *(one.content for one in between), f"Answer {number + 1}."]
            self.said.setdefault(conversation, []).extend(spoken)

    @rule(force=st.booleans(), whole=st.booleans())
    def archive(self, *, force: bool, whole: bool) -> None:
        self.archiver.archive(self._sessions(), force=force, whole=whole and force)

    @rule(moment=st.sampled_from(MOMENTS), kind=st.sampled_from([Killed, StorageFailed]), restore=st.booleans())
    def fail(self, moment: str, kind: type[BaseException], *, restore: bool) -> None:
        self.storage.fate = (moment, kind)
        try:
            if restore:
                self._restore(CONVERSATIONS[0], 1)
            else:
                self.archiver.archive(self._sessions(), force=True)
        except (Killed, StorageFailed):
            pass
        finally:
            self.storage.fate = None

    @rule(conversation=st.sampled_from(CONVERSATIONS), moment=st.sampled_from((None, "before delete", "after delete")))
    def erase(self, conversation: str, moment: str | None) -> None:
        """Its rows go, even where whoever erases dies at its objects."""
        self.storage.fate = (moment, Killed) if moment else None
        try:
            self.eraser.erase(Scope("ada", conversation))
        except Killed:
            pass
        finally:
            self.storage.fate = None
        self.said.pop(conversation, None)
        assert list(reading.messages_of(self.world.database, self.storage, "ada", conversation)) == []

    @rule()
    def time_passes(self) -> None:
        """What was dead is known to be, and no grace is left; what was to go has gone, and no object is left over."""
        self.library.wait_over()
        self.world.sql.execute("UPDATE sessions SET restored_until = now() - interval '1 second'")
        self.world.sql.execute("UPDATE erasures SET next_try_at = now() WHERE finished_at IS NULL")
        self.world.sql.execute("UPDATE condemned_objects SET due_at = now(), written_until = now()")
        self.eraser.resume()
        self.eraser.remove_objects(None)
        assert self.world.sql.execute("SELECT FROM erasures WHERE finished_at IS NULL").fetchall() == []
        found: list[Finding] = []
        assert Verifier(self.world.database, self.storage, found.append).verify().good, found

    @precondition(lambda self: self.said)
    @rule(conversation=st.sampled_from(CONVERSATIONS), first=st.integers(1, 30))
    def restore(self, conversation: str, first: int) -> None:
        self._restore(conversation, first)

    @rule()
    def sweep(self) -> None:
        self.archiver.archive(archives.due(self.world.database, self.archiver.rules, most=10))

    @invariant()
    def every_number_is_there_once(self) -> None:
        for conversation, said in self.said.items():
            session = self.library.standing(conversation=conversation).session_id
            assert [one.content for one in self.library.read(session)] == said
            self.library.assert_whole(session)

    @invariant()
    def no_turn_is_split(self) -> None:
        rows = self.world.sql.execute(
            "SELECT m.part FROM sessions AS s JOIN messages AS m ON m.session_id = s.id"
            " AND m.number = s.archived_through + 1 WHERE m.part > 1 AND NOT EXISTS ("
            " SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status IN ('pending', 'restored'))"
        ).fetchall()
        assert rows == []

    def _sessions(self) -> list[int]:
        return [self.library.standing(conversation=one).session_id for one in self.said]

    def _restore(self, conversation: str, first: int) -> None:
        if conversation not in self.said:
            return
        try:
            restoring.restore(self.world.database, self.storage, "ada", conversation, grace=60, first=first)
        except ArchiveBusy:
            return


def test_every_number_is_hot_or_in_one_archive(world: World) -> None:
    machine = type("Machine", (Archiving,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
