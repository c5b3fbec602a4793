"""What is wrong with Postgres and the broker is found, by making it so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from pydantic import SecretStr

from pipeline.doctor import CHECKS, Finding, examine
from pipeline.local import postgres
from pipeline.local.postgres import Postgres
from pipeline.settings import Settings
from pipeline.store import migrate
from tests.doctor.conftest import Look, is_fine, warned, wrong
from tests.doctor.old_broker import old_broker
from tests.servers import Broker


@pytest.fixture
def client(broker: Broker) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(broker.socket)) as one:
        yield one


@pytest.mark.parametrize(
    "check", [name for name in CHECKS if name.startswith(("postgres", "migr", "broker", "clocks"))]
)
def test_servers_as_they_should_be_are_fine(check: str, look: Look) -> None:
    assert is_fine(look(check))


def test_a_postgres_that_forgets_in_a_crash_is_wrong(
    own_postgres: Postgres, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_postgres.stop()
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        monkeypatch.setitem(postgres.SETTINGS, name, "off")
    own_postgres.start()
    found = wrong(look("postgres durability", database_url=secret(own_postgres.url)))
    assert [what.partition(" is off: ")[0] for what in found] == ["fsync", "full_page_writes", "synchronous_commit"]
    own_postgres.kill()
    assert wrong(look("postgres", database_url=secret(own_postgres.url))) == ["does not answer (PoolTimeout)"]
    assert wrong(look("migrations", database_url=secret(own_postgres.url)))[0].startswith("not looked at: Postgres")


def test_a_database_without_any_table_has_every_check_answered(
    database: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", str(tmp_path / "stack.json"))
    migrate.downgrade(database, "base")
    found = examine(settings)
    assert set(found) == set(CHECKS)
    assert any(one.what.endswith("run `pipeline db upgrade`") for one in found["migrations"])
    assert {"`pipeline db upgrade`" in what for what in wrong(found["workers"])} == {True}


def test_a_database_that_was_told_to_forget_is_wrong_whatever_its_server_says(database: str, look: Look) -> None:
    name = database.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    assert len(wrong(look("postgres durability"))) == 1


def test_a_database_one_revision_behind_is_wrong_and_so_is_one_without_a_function(database: str, look: Look) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'pipeline_claim%'").fetchone()
        assert row is not None
        connection.execute(f"DROP FUNCTION {row[0]}")
    assert wrong(look("migrations")) == [f"the function {row[0]} is missing"]
    migrate.downgrade(database, "-1")
    found = wrong(look("migrations"))
    assert found[0].startswith("revision is 0")
    assert found[0].endswith("run `pipeline db upgrade`")
    migrate.upgrade(database)
    assert is_fine(look("migrations"))


def test_a_broker_that_evicts_is_wrong_and_one_that_forgets_is_a_warning(client: redis.Redis, look: Look) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    assert wrong(look("broker eviction"))[0].startswith("maxmemory-policy is allkeys-lru")
    assert warned(look("broker persistence"))[0].startswith("keeps no append-only file")


def test_a_broker_that_is_nearly_full_is_a_warning(client: redis.Redis, look: Look) -> None:
    used = client.info("memory")["used_memory"]
    client.set("much", b"x" * 8_000_000)
    client.config_set("maxmemory", str(used + 9_500_000))
    (what,) = warned(look("broker eviction"))
    assert "% of its " in what


def test_a_broker_that_is_away_or_locked_is_wrong_and_what_needs_it_is_not_looked_at(
    broker: Broker, client: redis.Redis, look: Look
) -> None:
    client.config_set("requirepass", "hunter2")
    assert wrong(look("broker")) == ["refuses the login"]
    broker.kill()
    assert wrong(look("broker"))[0].startswith("does not answer")
    assert wrong(look("beat"))[0].startswith("not looked at: the broker does not answer")


@pytest.mark.parametrize(("seconds", "found"), [(3600, "wrong"), (-1.2, "warning")])
def test_a_clock_that_is_off_is_seen(seconds: float, found: str, database: str, look: Look) -> None:
    name = database.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
            f" AS $$ SELECT pg_catalog.clock_timestamp() + {seconds} * interval '1 second' $$"
        )
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    first, second = look("clocks")
    assert (str(first.level), str(second.level)) == (found, "fine")
    assert ("ahead of" in first.what) is (seconds > 0)


def test_servers_that_are_too_old_are_wrong_and_so_is_a_brokers_clock_that_is_ahead(database: str, look: Look) -> None:
    with old_broker() as url:
        assert wrong(look("broker", broker_url=secret(url))) == ["redis 6.2.14 is too old"]
        assert wrong(look("clocks", broker_url=secret(url)))[0].endswith("s ahead of this machine")
    name = database.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT '14.11' $$"
        )
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    assert wrong(look("postgres")) == ["version 14.11 is too old"]


def secret(url: str) -> SecretStr:
    """As the setting has it."""
    return SecretStr(url)


def test_a_finding_says_nothing_of_a_password(look: Look) -> None:
    url = secret("postgresql://me:hunter2@127.0.0.1:1/x")
    found: list[Finding] = look("postgres", database_url=url)
    assert wrong(found)
    assert "hunter2" not in str(found)
