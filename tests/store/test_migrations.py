"""Migrations, on real data; and what `drift` finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import exc

from pipeline.store import migrate
from pipeline.store.database import Database
from tests.servers import eventually
from tests.store.desk import WAITING, Desk, Sql, answered, count, new

TABLES = "pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"


@pytest.fixture
def sql(database: str) -> Iterator[Sql]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def use(url: str, conversation: str) -> None:
    """A whole turn, and a request that waits."""
    database = Database(url)
    desk = Desk(database)
    desk.end(answered(desk.running(conversation=conversation)))
    desk.accept(new(conversation=conversation))
    database.close()


def test_down_and_up_again_with_real_data_in_between(database: str, sql: Sql) -> None:
    use(database, "first")
    migrate.downgrade(database, "0001")
    assert count(sql, "messages") == 2
    migrate.upgrade(database)
    assert migrate.drift(database) == []
    use(database, "second")  # the triggers and their functions are there again
    assert (count(sql, "messages"), count(sql, "requests")) == (4, 4)

    migrate.downgrade(database, "base")
    assert count(sql, TABLES) == 0
    assert count(sql, "pg_proc WHERE pronamespace = 'public'::regnamespace") == 0
    migrate.upgrade(database)
    assert migrate.drift(database) == []
    use(database, "first")
    migrate.upgrade(database)  # nothing to do
    assert count(sql, "requests") == 2


def test_two_upgrades_at_once_do_no_harm(database: str) -> None:
    migrate.downgrade(database, "base")
    program = "import sys; from pipeline.store import migrate; migrate.upgrade(sys.argv[1])"

    def upgrade(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", program, database], check=False, capture_output=True, text=True, env={**os.environ}
        ).stderr

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(upgrade, range(2))) == ["", ""]
    assert migrate.drift(database) == []


def test_functions_are_added_by_one_at_a_time(database: str, sql: Sql) -> None:
    with psycopg.connect(database) as other, migrate._connect(database) as ours, ThreadPoolExecutor(1) as threads:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [migrate.ADVISORY_LOCK])
        adding = threads.submit(migrate._add_functions, ours)
        eventually(lambda: count(sql, WAITING) == 1, 20, what="it waits for its turn")
        other.rollback()
        adding.result(30)


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "ACCESS EXCLUSIVE"])
def test_a_migration_does_not_queue_behind_a_long_transaction(
    database: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "100ms")
    with psycopg.connect(database) as long:
        long.execute(f"LOCK TABLE messages IN {mode} MODE".encode())
        with pytest.raises(exc.OperationalError, match="lock timeout"):
            migrate.downgrade(database, "0001")
        long.rollback()
    assert migrate.drift(database) == []


def test_a_migration_that_fails_changes_nothing(database: str, sql: Sql) -> None:
    migrate.downgrade(database, "0001")
    sql.execute("CREATE FUNCTION outcomes_are_final() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with pytest.raises(exc.ProgrammingError, match="outcomes_are_final"):
        migrate.upgrade(database)  # it made three triggers before
    assert count(sql, "pg_trigger WHERE NOT tgisinternal") == 0
    sql.execute("DROP FUNCTION outcomes_are_final()")
    migrate.upgrade(database)
    assert migrate.drift(database) == []


def test_a_migration_waits_five_seconds_for_a_lock_at_most() -> None:
    assert migrate.LOCK_TIMEOUT == "5s"


# -- drift ------------------------------------------------------------------------------------------------------------


def test_a_fresh_database_has_not_drifted(database: str) -> None:
    assert migrate.drift(database) == []


#: What somebody may do to a database by hand, and words of the line that names it.
BY_HAND = {
    "DROP INDEX ix_requests_deadline": ["ix_requests_deadline is missing"],
    "CREATE INDEX by_hand ON requests (agent)": ["by_hand is none of ours"],
    "ALTER TABLE requests ALTER COLUMN agent DROP NOT NULL": ["requests.agent differs"],
    "ALTER TABLE requests ALTER COLUMN origin TYPE varchar(20)": ["requests.origin differs"],
    "ALTER TABLE requests ALTER COLUMN status SET DEFAULT 'running'": ["requests.status differs"],
    "ALTER TABLE requests ADD COLUMN extra int": ["requests.extra is none of ours"],
    "ALTER TABLE requests DROP COLUMN reason": ["requests.reason is missing"],
    "ALTER TABLE requests DROP CONSTRAINT uq_requests_session_id_position": ["position is missing"],
    "ALTER TABLE attempts DROP CONSTRAINT fk_attempts_request_id": ["fk_attempts_request_id is missing"],
    "DROP TABLE calls": ["calls.id is missing"],
    "DROP TRIGGER messages_are_gap_free ON messages": ["trigger messages_are_gap_free is missing"],
    "ALTER TABLE requests DISABLE TRIGGER outcomes_are_final": ["trigger outcomes_are_final differs"],
    "UPDATE alembic_version SET version_num = '0001'": ["revision is 0001", "pipeline db upgrade"],
}

#: Likewise, of what keeps the invariants.
INVARIANTS_BY_HAND = {
    "ALTER TABLE requests DROP CONSTRAINT ck_requests_only_a_head_runs": ["ck_requests_only_a_head_runs"],
    "DROP INDEX uq_requests_head": [],
    "CREATE UNIQUE INDEX uq_requests_head ON requests (session_id) WHERE status = 'queued'": ["uq_requests_head"],
    "CREATE OR REPLACE FUNCTION outcomes_are_final() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'": [
        "outcomes_are_final"
    ],
}


def unnoticed(database: str, sql: Sql, changes: dict[str, list[str]]) -> list[str]:
    """Of the changes, those that no line names."""
    for change in changes:
        sql.execute(change.encode())
    lines = migrate.drift(database)
    return [change for change, words in changes.items() if not any(all(w in line for w in words) for line in lines)]


def test_what_has_drifted_is_named(database: str, sql: Sql) -> None:
    assert unnoticed(database, sql, BY_HAND) == []


def test_what_keeps_the_invariants_is_looked_at_whole(database: str, sql: Sql) -> None:
    assert unnoticed(database, sql, INVARIANTS_BY_HAND) == []


def test_an_empty_database_is_told_to_upgrade(database: str) -> None:
    migrate.downgrade(database, "base")
    told = re.compile(r"revision is None, not \d{4}: run `pipeline db upgrade`")
    assert any(told.fullmatch(line) for line in migrate.drift(database))
