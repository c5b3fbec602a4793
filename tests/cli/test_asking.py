"""`pipeline ask` and `pipeline requests cancel`, with a worker that answers."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import PIPELINE, environment, run
from tests.fleet import Fleet
from tests.servers import Broker


@pytest.fixture
def settings(database: str, broker: Broker) -> dict[str, str]:
    return {
        "CITE_AGENT_DATABASE_URL": database,
        "CITE_AGENT_BROKER_URL": broker.url,
        "CITE_AGENT_AGENTS": "tests.fleet_agents",
    }


@pytest.fixture
def fleet(database: str, broker: Broker, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, database, broker.url)
    try:
        yield made
    finally:
        made.close()


def ask(*arguments: str) -> tuple[str, ...]:
    return ("ask", *arguments, "--user", "ada", "--conversation", "thesis")


def test_an_answer_is_printed_and_a_failure_fails(fleet: Fleet, settings: dict[str, str], tmp_path: Path) -> None:
    fleet.start()
    answered = run(*ask("hello", "--agent", "wait", "--priority", "urgent"), folder=tmp_path, **settings)
    assert (answered.returncode, answered.stdout) == (0, "answer to hello\n")
    assert answered.stderr.startswith("request ")

    document = json.loads(run(*ask("json", "--agent", "wait", "--json"), folder=tmp_path, **settings).stdout)
    assert document["text"] == "answer to json"
    assert document["attempts"] == 1

    failed = run(*ask("hello", "--agent", "raises"), folder=tmp_path, **settings)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "failed: agent_error, after 1 attempt(s)" in failed.stderr

    assert on_a_terminal(*ask("again", "--agent", "wait"), **settings).endswith("answer to again\r\n")


def test_without_a_worker_it_gives_up_waiting_and_the_request_can_be_cancelled(
    fleet: Fleet, settings: dict[str, str], tmp_path: Path
) -> None:
    waited = run(*ask("hello", "--timeout", "0.5"), folder=tmp_path, **settings)
    assert waited.returncode == 1
    assert "no outcome after 0.5 s; it goes on" in waited.stderr
    ((id_, status),) = fleet.rows("SELECT id::text, status FROM requests")
    assert status == "queued"

    cancelled = run("requests", "cancel", id_, folder=tmp_path, **settings)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"request {id_} is cancelled\n")
    again = run("requests", "cancel", id_, "--json", folder=tmp_path, **settings)
    assert again.returncode == 1
    assert json.loads(again.stdout) == {"id": id_, "cancelled": False, "status": "cancelled"}


def test_a_request_that_cannot_be_answered_is_misuse(settings: dict[str, str], tmp_path: Path) -> None:
    for option in (("--agent", "nobody"), ("--priority", "soon")):
        ran = run(*ask("hello", *option), folder=tmp_path, **settings)
        assert ran.returncode == 2
        assert option[1] in ran.stderr


def on_a_terminal(*arguments: str, **settings: str) -> str:
    """What the command writes when its output is a terminal."""
    ours, theirs = pty.openpty()
    given = environment(**settings)
    with subprocess.Popen([*PIPELINE, *arguments], env=given, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 4096):
                written += part
        except OSError:
            pass  # how a terminal says that nobody writes to it any more
        finally:
            os.close(ours)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
    return written.decode()
