"""A new connection has planned what it is for before anybody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.errors import UndefinedFunction

from pipeline.errors import ConfigurationError
from pipeline.metrics import LEDGER_FAULTS
from pipeline.schemas import Status
from pipeline.store.database import Connection, Database
from pipeline.store.ledger import outcomes, rehearse
from pipeline.store.ledger.accept import ACCEPT
from pipeline.store.ledger.claim import CLAIM
from pipeline.store.ledger.end import END_AND_HAND_OVER
from pipeline.store.ledger.outcomes import OUTCOMES
from tests.store.desk import Desk, Sql, answered, ending, new

#: Of the statements that this connection has planned, the beginnings.
PLANNED = "SELECT left(ident, 400) FROM pg_backend_memory_contexts WHERE name = 'CachedPlan'"

TABLES = ("users", "sessions", "requests", "attempts", "calls", "messages", "workers")


@contextmanager
def rehearsed(url: str, *verbs: Callable[[Connection], None]) -> Iterator[Database]:
    def all_of_them(connection: Connection) -> None:
        for verb in verbs:
            verb(connection)

    database = Database(url, size=1, rehearse=all_of_them)
    yield database
    database.close()


def planned(database: Database) -> set[str]:
    with database.connection() as connection:
        return {ident for (ident,) in connection.execute(PLANNED)}


def everything(sql: Sql) -> list[list[tuple[Any, ...]]]:
    return [sql.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES]


def test_what_clients_and_workers_do_most_is_planned_before_the_first_of_them(desk: Desk, ledger_url: str) -> None:
    bodies = [one.body for one in (ACCEPT, CLAIM, END_AND_HAND_OVER, OUTCOMES)]
    with rehearsed(ledger_url, rehearse.accepting, rehearse.answering) as database:
        before = planned(database)
        desk.database = database
        running = desk.running()
        desk.end(answered(running))
        assert outcomes(database, [running.id])
        met_first = planned(database) - before
    # what a row's triggers and keys ask for is planned when the first row comes
    assert not [ident for ident in met_first if any(ident.strip() in body for body in bodies)]
    assert [ident for ident in before if any(ident.strip() in body for body in bodies)]


def test_a_rehearsal_changes_nothing(desk: Desk, sql: Sql, ledger_url: str) -> None:
    desk.running(conversation="running")
    desk.end(ending(desk.running(conversation="retrying"), Status.retrying, reason="http_503", delay=0))
    desk.accept(new(conversation="queued"))
    before = everything(sql)
    with rehearsed(ledger_url, rehearse.accepting, rehearse.answering) as database:
        assert planned(database)
    assert everything(sql) == before


def test_each_connection_rehearses_once_and_is_given_out_though_it_fails(ledger_url: str) -> None:
    met: list[Connection] = []

    def fail(connection: Connection) -> None:
        met.append(connection)
        connection.execute("SELECT 1 / 0")

    counted = LEDGER_FAULTS.labels("rehearse")._value
    before = counted.get()
    with rehearsed(ledger_url, fail) as database:
        for _ in range(3):
            with database.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert met == [connection]
    assert counted.get() == before + 1


def test_whoever_only_reads_has_a_connection_while_others_lock_the_tables(sql: Sql, ledger_url: str) -> None:
    with sql.transaction():
        sql.execute("LOCK TABLE users, requests IN EXCLUSIVE MODE")
        with rehearsed(ledger_url, rehearse.accepting, rehearse.answering) as database:
            assert outcomes(database, []) == []
            with database.connection() as connection:
                assert connection.execute("SHOW lock_timeout").fetchone() == ("0",), "what it does now may wait"


@pytest.mark.parametrize("verb", [rehearse.accepting, rehearse.answering])
def test_where_functions_are_lacking_it_is_the_verb_that_says_so(
    ledger_url: str, verb: Callable[[Connection], None]
) -> None:
    elsewhere = f"{ledger_url}&options=-csearch_path%3Dnowhere"
    with psycopg.connect(elsewhere, autocommit=True) as connection, pytest.raises(UndefinedFunction):
        verb(connection)
    with rehearsed(elsewhere, verb) as database, pytest.raises(ConfigurationError):
        outcomes(database, [])
