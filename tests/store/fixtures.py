"""A database that tests share one after the other: emptying its tables takes a hundredth of what a clone takes."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from pipeline.store.database import Database
from tests.servers import SharedPostgres
from tests.store.desk import Desk, Sql

#: In an order that their references allow.
TABLES = """
    calls attempts archives summaries messages requests sessions users workers condemned_objects erasures spending
    metric_users
"""
EMPTY = "; ".join(f"DELETE FROM {table}" for table in TABLES.split())


@pytest.fixture(scope="session")
def emptied_between_tests(shared_postgres: SharedPostgres) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    yield shared_postgres.clone(name)
    shared_postgres.drop(name)


@pytest.fixture
def ledger_url(emptied_between_tests: str) -> Iterator[str]:
    """The URL of a database with this version's tables and nothing in them; not for tests that change the tables."""
    yield emptied_between_tests
    with psycopg.connect(emptied_between_tests, autocommit=True) as connection:
        connection.execute(EMPTY)


@pytest.fixture
def store(ledger_url: str) -> Iterator[Database]:
    opened = Database(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Database) -> Desk:
    return Desk(store)


@pytest.fixture
def sql(ledger_url: str) -> Iterator[Sql]:
    """Postgres without the pipeline in between."""
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        yield connection
