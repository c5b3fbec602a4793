"""What goes wrong is told in one line on standard error, with an exit code that a script can go by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
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


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (("requests", "list", "--since", "999999999d"), "--since"),
        (("requests", "list", "--until", "0001-01-01T00:00+14:00"), "--until"),
        (("requests", "list", "--limit", str(10**20)), "--limit"),
        (("sessions", "list", "--limit", str(10**20)), "--limit"),
        (("requests", "retry", "--all", "--rate", "inf"), "--rate"),
        (("requests", "retry", "--all", "--rate", "nan"), "--rate"),
        (("ask", "hi", "-u", "ada", "-c", "x", "--timeout", "nan"), "--timeout"),
        (("status", "--watch", "--every", "inf"), "--every"),
    ],
)
def test_a_number_or_a_time_beyond_all_bounds_is_misuse_that_names_its_option(
    cli: Cli, command: tuple[str, ...], field: str
) -> None:
    ran = cli(*command)
    assert ran.exit_code == 2
    assert f"Invalid value for '{field}'" in " ".join(ran.stderr.split())


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (("requests", "list", "--user"), "user"),
        (("requests", "retry"), "request_ids"),
        (("requests", "show"), "request_id"),
        (("sessions", "show", "nobody"), "conversation"),
        (("ask", "-u", "ada", "-c", "x"), "text"),
    ],
)
def test_text_in_another_encoding_is_misuse_that_names_what_it_was_given_for(
    cli: Cli, command: tuple[str, ...], field: str
) -> None:
    ran = cli(*command, "caf\udce9")
    assert ran.exit_code == 2
    assert ran.stderr == f"pipeline: {field}: 'caf\\udce9' is not UTF-8; write it in UTF-8\n"
