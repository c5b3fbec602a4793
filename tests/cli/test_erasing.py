"""What is exported, verified and erased by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.archive.document import parse
from pipeline.settings import current
from pipeline.store.database import Database
from tests.cli.conftest import Cli
from tests.servers import Broker
from tests.store.desk import Desk, Sql, count


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, desk: Desk) -> Path:
    """The cold storage, with an archive of ada's thesis, of whose eight messages two are hot."""
    monkeypatch.setenv("CITE_AGENT_COLD_STORAGE_URL", str(tmp_path / "archives"))
    monkeypatch.setenv("CITE_AGENT_RECENT_CONTEXT_WINDOW", "2")
    current.cache_clear()
    desk.converse(4)
    assert cli("sessions", "archive", "ada", "thesis").exit_code == 0
    return tmp_path / "archives"


@pytest.fixture
def with_broker(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_BROKER_URL", broker.url)
    current.cache_clear()


def test_a_conversation_is_exported_whole(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert len(list(folder.iterdir())) == 1
    shown = cli("sessions", "export", "ada", "thesis")
    assert shown.exit_code == 0
    document = parse("export.json", shown.stdout.encode())
    assert [one.number for one in document.messages] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert cli("sessions", "export", "ada", "thesis", "--output", "thesis.json").exit_code == 0
    file = tmp_path / "thesis.json"
    assert parse("export.json", file.read_bytes()).history == document.history
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part"))


def test_all_of_a_users_are_exported_as_a_list_or_as_lines(cli: Cli, folder: Path, desk: Desk) -> None:
    desk.converse(1, conversation="zoology")
    found = json.loads(cli("sessions", "export", "ada").stdout)
    assert [one["message_count"] for one in found] == [8, 2]
    lines = cli("sessions", "export", "ada", "--lines").stdout.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [*range(1, 9), 1, 2]
    del folder


@pytest.mark.parametrize("arguments", [("nobody",), ("ada", "nothing"), ("ada", "thesis", "-o", "/no/such/folder/x")])
def test_an_export_that_cannot_be_is_misuse(cli: Cli, folder: Path, arguments: tuple[str, ...]) -> None:
    result = cli("sessions", "export", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("pipeline: ")
    del folder


def test_a_damaged_archive_is_named_by_export_and_verify(cli: Cli, folder: Path) -> None:
    (name,) = (one.name for one in folder.iterdir())
    (folder / name).write_bytes(b"nonsense")
    exported = cli("sessions", "export", "ada", "thesis")
    assert (exported.exit_code, name in exported.stderr) == (1, True)
    assert parse("export.json", exported.stdout.encode()).message_count == 2
    verified = cli("archive", "verify")
    assert (verified.exit_code, name in verified.stdout) == (1, True)
    assert "1 archive(s) with 6 message(s), 1 conversation(s): 1 damaged" in verified.stdout


def test_verify_tells_orphans_by_its_exit_code_until_they_are_removed(cli: Cli, folder: Path) -> None:
    assert cli("archive", "verify").exit_code == 0
    orphan = folder / "ada_thesis_20200101T000000.000000Z.json"
    orphan.write_text("{}")
    assert cli("archive", "verify").exit_code == 1
    said = json.loads(cli("archive", "verify", "--json").stdout)
    assert (said["good"], said["findings"], said["found"][0]["what"]) == (False, {"orphan": 1}, orphan.name)
    fixed = cli("archive", "verify", "--fix")
    assert (fixed.exit_code, "1 orphan(s) removed" in fixed.stdout) == (0, True)
    assert not orphan.exists()
    assert "all as it should be" in cli("archive", "verify").stdout


@pytest.mark.usefixtures("with_broker")
def test_a_conversation_is_erased_with_a_receipt(cli: Cli, folder: Path, sql: Sql) -> None:
    erased = cli("sessions", "erase", "ada", "thesis", "--yes")
    assert erased.exit_code == 0, erased.stderr
    assert "messages:  8, of which 6 in cold storage (1 archive(s))" in erased.stdout
    assert not re.search(r"\bada\b", erased.stdout)
    assert list(folder.iterdir()) == []
    assert count(sql, "messages") == 0
    receipt = erased.stdout.split()[1]
    again = cli("sessions", "receipt", receipt)
    assert again.stdout == erased.stdout
    assert json.loads(cli("sessions", "receipt", receipt, "--json").stdout)["messages"] == 8


@pytest.mark.usefixtures("with_broker")
def test_nothing_is_erased_by_one_who_cannot_be_asked(cli: Cli, folder: Path, sql: Sql) -> None:
    refused = cli("sessions", "erase", "ada")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert count(sql, "messages") == 2
    assert len(list(folder.iterdir())) == 1


def test_an_erasure_that_is_not_complete_is_told_by_the_exit_code(
    cli: Cli, folder: Path, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITE_AGENT_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CITE_AGENT_BROKER_TIMEOUT", "0.3")
    current.cache_clear()
    result = cli("sessions", "erase", "ada", "thesis", "--yes")
    assert (result.exit_code, "not yet" in result.stdout) == (1, True)
    assert list(folder.iterdir()) == []
    del store


@pytest.mark.usefixtures("with_broker")
def test_a_receipt_that_is_not_there_fails(cli: Cli) -> None:
    result = cli("sessions", "receipt", "nonsense")
    assert result.exit_code == 2
    assert result.stderr == "pipeline: there is no receipt nonsense\n"
