"""A database of another version than the code: whoever comes to it is told what to do."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from pipeline import Client, RequestCancelled, Settings
from pipeline.errors import ConfigurationError
from pipeline.store import version
from pipeline.store.database import Database
from pipeline.store.ledger.accept import ACCEPT
from pipeline.store.ledger.outcomes import OUTCOMES
from pipeline.store.procedures import Procedure
from pipeline.worker.runtime import Runtime

REMEDY = "run `pipeline db upgrade`"
NO_BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture
def settings(database: str) -> Settings:
    return Settings(database_url=database, broker_url=NO_BROKER, broker_timeout=0.3, outcome_poll=0.2)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings) as client:
        yield client


def drop(database: str, what: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP {what}")


def ask(client: Client) -> UUID:
    return UUID(client.submit("Hello.", user_id="ada", conversation_id="thesis").id)


def test_this_versions_database_is_what_is_required(database: str) -> None:
    opened = Database(database)
    version.require(opened)
    opened.close()


@pytest.mark.parametrize("procedure", version.PROCEDURES[:: len(version.PROCEDURES) - 1], ids=lambda one: one.verb)
def test_a_worker_does_not_start_on_a_database_without_a_function_of_its_version(
    database: str, settings: Settings, procedure: Procedure
) -> None:
    drop(database, f"FUNCTION {procedure.name}")
    runtime = Runtime(settings, "worker")
    with pytest.raises(ConfigurationError, match=f"{REMEDY} .it has no function {procedure.name}"):
        runtime.start()
    runtime.stop()


def test_a_client_is_told_what_to_do_when_it_submits(database: str, client: Client) -> None:
    drop(database, f"FUNCTION {ACCEPT.name}")
    with pytest.raises(ConfigurationError, match=REMEDY):
        ask(client)


def test_a_client_is_told_what_to_do_on_a_database_without_tables(database: str, client: Client) -> None:
    drop(database, "TABLE requests CASCADE")
    with pytest.raises(ConfigurationError, match=REMEDY):
        client.get("00000000-0000-0000-0000-000000000000")


def test_who_waits_for_an_answer_is_told_and_may_wait_again_once_that_is_done(database: str, client: Client) -> None:
    id_ = ask(client)
    handle = client.get(str(id_))
    drop(database, f"FUNCTION {OUTCOMES.name}")
    with pytest.raises(ConfigurationError, match=REMEDY):
        handle.result(20)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(OUTCOMES.create)
    assert handle.cancel()
    with pytest.raises(RequestCancelled):
        handle.result(20)
