"""The commands on archives: a conversation is archived, read whole, and brought back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import signals
from pipeline.store.database import Database
from pipeline.store.measures import estates
from tests.cli.conftest import Cli
from tests.store.desk import Desk, Sql


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than four hot messages are too many, and two stay hot."""
    for name, value in {"MAX_MESSAGES_IN_MEMORY": "4", "RECENT_CONTEXT_WINDOW": "2", "ARCHIVE_THRESHOLD": "4"}.items():
        monkeypatch.setenv(f"CITE_AGENT_{name}", value)


def test_a_conversation_is_archived_read_and_restored(cli: Cli, desk: Desk) -> None:
    desk.converse(turns=2)
    assert cli("sessions", "archive", "ada", "thesis").stdout == "Archived 2 message(s) in 1 archive(s)\n"
    assert len(cli("sessions", "show", "ada", "thesis").stdout.splitlines()) == 2
    whole = cli("sessions", "show", "ada", "thesis", "--all")
    assert [line.split()[0] for line in whole.stdout.splitlines()] == ["1", "2", "3", "4"]
    listed = json.loads(cli("sessions", "show", "ada", "thesis", "--all", "--json").stdout)
    assert [one["number"] for one in listed] == [1, 2, 3, 4]
    assert cli("sessions", "archive", "ada", "thesis", "--whole").stdout == "Archived 2 message(s) in 1 archive(s)\n"
    assert cli("sessions", "archive", "ada", "thesis").stdout == "Archived 0 message(s) in 0 archive(s)\n"
    restored = cli("sessions", "restore", "ada", "thesis", "--from", "3")
    assert restored.stdout == "Restored 2 message(s) of 1 archive(s), hot for 24 h at least\n"
    assert cli("sessions", "restore", "ada", "thesis").stdout.startswith("Restored 2 message(s) of 1")
    assert cli("sessions", "restore", "ada", "thesis").stdout == "Nothing of it is archived\n"
    assert len(cli("sessions", "show", "ada", "thesis").stdout.splitlines()) == 4


def test_what_a_command_counts_is_left_for_the_exporter_to_serve(cli: Cli, desk: Desk, store: Database) -> None:
    desk.converse(turns=2)
    signals.estate.settle()
    cli("archive", "sweep")
    cli("sessions", "archive", "ada", "thesis", "--whole")
    cli("sessions", "restore", "ada", "thesis")
    left = {name: value for (name, labels), value in estates.adopt(store).items() if not labels}
    assert left["cite_agent_session_archived_messages_total"] == left["cite_agent_session_restored_messages_total"] == 4
    cli("sessions", "restore", "ada", "thesis")
    assert estates.adopt(store) == {}, "it is left once"


def test_the_sweep_archives_what_is_due(cli: Cli, desk: Desk, tmp_path: Path) -> None:
    desk.converse(turns=3)
    desk.converse(turns=1, conversation="short")
    assert cli("archive", "sweep").stdout == "Archived 4 message(s) in 1 archive(s)\n"
    assert cli("archive", "sweep").stdout == "Archived 0 message(s) in 0 archive(s)\n"
    assert len(list((tmp_path / "archives").iterdir())) == 1


def test_a_damaged_archive_is_named_the_rest_is_shown_and_the_exit_code_tells(
    cli: Cli, desk: Desk, tmp_path: Path
) -> None:
    desk.converse(turns=3)
    cli("archive", "sweep")
    (file,) = (tmp_path / "archives").iterdir()
    file.write_bytes(b"")
    shown = cli("sessions", "show", "ada", "thesis", "--all")
    assert shown.exit_code == 1
    assert f"archive {file.name} is damaged" in shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["5", "6"]
    restored = cli("sessions", "restore", "ada", "thesis")
    assert (restored.exit_code, restored.stderr) == (1, shown.stderr)


def test_storage_that_fails_is_told_by_message_and_exit_code(cli: Cli, desk: Desk, tmp_path: Path) -> None:
    desk.converse(turns=3)
    (tmp_path / "archives").write_text("a file where the folder should be")
    done = cli("archive", "sweep")
    assert done.exit_code == 1
    assert done.stderr == "pipeline: 1 archive(s) could not be written; they are tried again later\n"
    assert len(cli("sessions", "show", "ada", "thesis").stdout.splitlines()) == 6


@pytest.mark.parametrize("command", [["archive"], ["restore"], ["show", "--all"]])
def test_an_unknown_conversation_is_named(cli: Cli, command: list[str]) -> None:
    done = cli("sessions", command[0], "ada", "nothing", *command[1:])
    assert (done.exit_code, done.stderr) == (2, "pipeline: conversation: there is none 'nothing' of user 'ada'\n")


def test_what_was_said_for_a_request_is_shown_when_it_is_archived(cli: Cli, desk: Desk, sql: Sql) -> None:
    desk.converse(turns=3)
    (id_,) = sql.execute("SELECT id FROM requests ORDER BY position LIMIT 1").fetchone() or (None,)
    before = json.loads(cli("requests", "show", str(id_), "--text", "--json").stdout)["said"]
    cli("archive", "sweep")
    assert len(before) == 2
    assert json.loads(cli("requests", "show", str(id_), "--text", "--json").stdout)["said"] == before
