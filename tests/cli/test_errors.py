"""What goes wrong is told in one line on standard error, with an exit code that a script can go by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import run

#: Where nobody listens, with a password that nobody is to see.
NOWHERE = "postgresql://me:hunter2@127.0.0.1:1/nothing"


@pytest.mark.parametrize("command", [("requests", "list"), ("db", "check"), ("ask", "hi", "-u", "ada", "-c", "x")])
def test_without_a_stack_a_command_says_how_to_get_one(command: tuple[str, ...], tmp_path: Path) -> None:
    ran = run(*command, folder=tmp_path, CITE_AGENT_STACK_FILE=str(tmp_path / "stack.json"))
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "pipeline up" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [("requests", "list"), ("sessions", "list"), ("db", "upgrade"), ("db", "check")])
def test_a_postgres_that_is_away_is_a_failure_told_without_the_password(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    ran = run(*command, folder=tmp_path, CITE_AGENT_DATABASE_URL=NOWHERE)
    assert ran.returncode == 1
    assert "127.0.0.1:1" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert "hunter2" not in ran.stderr


def test_a_wrong_setting_is_misuse_and_names_the_variable(tmp_path: Path) -> None:
    ran = run("requests", "list", folder=tmp_path, CITE_AGENT_DATABASE_URL=NOWHERE, CITE_AGENT_LEASE="soon")
    assert ran.returncode == 2
    assert "CITE_AGENT_LEASE" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("option", [("--status", "lost"), ("--limit", "0")])
def test_wrong_arguments_are_misuse(option: tuple[str, str], tmp_path: Path) -> None:
    ran = run("requests", "list", *option, folder=tmp_path)
    assert ran.returncode == 2
    assert option[0] in ran.stderr
