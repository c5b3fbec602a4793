"""`pipeline db` makes the tables, and finds where they differ."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli
from tests.store.desk import Sql


def test_a_database_at_this_version_has_no_drift(cli: Cli) -> None:
    assert cli("db", "check").exit_code == 0
    assert json.loads(cli("db", "check", "--json").stdout) == []


def test_drift_is_listed_and_fails(cli: Cli, sql: Sql) -> None:
    sql.execute("ALTER TABLE messages DISABLE TRIGGER messages_are_gap_free")
    sql.execute("ALTER TABLE requests DROP COLUMN reason")
    result = cli("db", "check")
    assert result.exit_code == 1
    assert "trigger messages_are_gap_free differs" in result.stdout
    assert "reason" in result.stdout
    assert len(json.loads(cli("db", "check", "--json").stdout)) == 2


def test_an_empty_database_is_told_to_be_upgraded_and_can_be(cli: Cli, sql: Sql) -> None:
    sql.execute("DROP SCHEMA public CASCADE")
    sql.execute("CREATE SCHEMA public")
    refused = cli("requests", "list")
    assert refused.exit_code == 2
    assert "pipeline db upgrade" in refused.stderr
    assert cli("db", "check").exit_code == 1
    assert cli("db", "upgrade").exit_code == 0
    assert cli("db", "check").exit_code == 0
    assert cli("requests", "list").exit_code == 0
