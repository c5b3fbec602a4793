"""The sweep finds what is due by the rules, through indexes, and hands it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pytest

from pipeline.archive.archiver import Archiver
from pipeline.archive.sweep import ENOUGH, Sweep
from pipeline.store import archives
from pipeline.store.archives.due import DUE, SETTLE
from pipeline.store.database import Database
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library, rules
from tests.store.desk import Sql

#: By the sweep: more than ten, or more than two and an hour old; idle after a day.
RULES = rules(most_hot=100, threshold=10, window=2, idle=86400)


def due(store: Database) -> list[int]:
    return sorted(archives.due(store, RULES, most=100))


def age(sql: Sql, what: str, seconds: float) -> None:
    sql.execute(f"UPDATE sessions SET {what} = {what} - %s * interval '1 second'", [seconds])


def test_more_than_the_threshold_are_due(library: Library, store: Database) -> None:
    library.fill(10, conversation="ten")
    eleven = library.fill(11, conversation="eleven")
    assert due(store) == [eleven]


def test_more_than_the_window_are_due_once_the_oldest_is_old(library: Library, store: Database, sql: Sql) -> None:
    library.fill(2, conversation="two")
    three = library.fill(3, conversation="three")
    assert due(store) == []
    age(sql, "oldest_hot_at", 3601)
    assert due(store) == [three]


def test_idle_ones_are_archived_whole(make_archiver: MakeArchiver, library: Library, store: Database, sql: Sql) -> None:
    session = library.converse(1)
    age(sql, "oldest_hot_at", 86401)
    assert due(store) == []  # it is old, but somebody was there
    age(sql, "last_active_at", 86401)
    assert due(store) == [session]
    make_archiver(**asdict(RULES)).archive([session])
    assert library.hot(session) == []
    assert due(store) == []
    library.assert_whole(session)


def test_what_has_nothing_to_archive_is_not_looked_at_again_until_it_grows(
    library: Library, store: Database, sql: Sql
) -> None:
    library.fill(2)
    age(sql, "grown_at", 3601)
    assert due(store) == []
    assert sql.execute("SELECT grown_at FROM sessions").fetchall() == [(None,)]
    library.fill(1)
    assert sql.execute("SELECT grown_at IS NULL FROM sessions").fetchall() == [(False,)]


def test_after_archiving_a_session_is_not_due(archiver: Archiver, library: Library, store: Database, sql: Sql) -> None:
    session = library.fill(20)
    assert due(store) == [session]
    archiver.archive([session])
    age(sql, "oldest_hot_at", 7200)
    assert due(store) == []


@pytest.fixture
def crowd(library: Library, sql: Sql) -> int:
    """One session that is due among thousands that are not, half of which have nothing to be looked at for."""
    sql.execute("INSERT INTO users (user_id) VALUES ('ada')")
    sql.execute(
        "INSERT INTO sessions (user_id, conversation_id, last_number, oldest_hot_at, grown_at)"
        " SELECT 'ada', n, 2, now() - interval '10 hours', NULL FROM generate_series(1, 20000) AS n"
    )
    session = library.fill(20)
    sql.execute("ANALYZE sessions")
    sql.execute("ANALYZE archives")
    return session


def test_what_is_due_is_found_through_indexes(library: Library, store: Database, crowd: int) -> None:
    assert due(store) == [crowd]
    given = {**RULES.as_parameters(), "most": 100}
    with store.connection() as connection:
        for query in (DUE, SETTLE):
            plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}", given))
            assert "Seq Scan on sessions" not in plan, plan
            assert "ix_sessions_grown_at" in plan, plan
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {DUE}", given))
        assert "ix_sessions_oldest_hot_at" in plan, plan


def test_what_is_due_is_handed_out_in_handfuls(library: Library, store: Database) -> None:
    sessions = {library.fill(12, conversation=f"c{number}") for number in range(120)}
    given: list[Sequence[int]] = []
    assert Sweep(store, RULES, given.extend, lambda: 0).run() == 120
    assert [len(handful) for handful in given] == [100, 20]
    assert {one for handful in given for one in handful} == sessions


def test_workers_that_have_enough_to_do_are_given_nothing_more(library: Library, store: Database) -> None:
    library.fill(12)
    given: list[Sequence[int]] = []
    assert Sweep(store, RULES, given.extend, lambda: ENOUGH).run() == 0
    assert given == []


def test_two_sweeps_at_once_do_no_harm(archiver: Archiver, library: Library, store: Database, sql: Sql) -> None:
    session = library.fill(12)
    given: list[Sequence[int]] = []
    for _ in range(2):
        Sweep(store, RULES, given.extend, lambda: 0).run()
    for handful in given:
        archiver.archive(handful)
    assert sql.execute("SELECT count(*) FROM archives").fetchall() == [(1,)]
    library.assert_whole(session)
