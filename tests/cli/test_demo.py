"""The demo, as a newcomer runs it: in an empty folder, piped."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from typer.testing import CliRunner

from pipeline.cli import main
from pipeline.cli.demo.report import print_report
from pipeline.cli.demo.screen import Screen
from pipeline.local import process
from pipeline.store import invariants
from pipeline.store.database import Database
from tests.cli.terminal import PIPELINE, environment, run
from tests.servers import eventually
from tests.store.desk import Desk, Sql, new

#: Seconds for all of it, and until an answer's first text, beside other tests: by itself it takes 45, and 10.
ALL, FIRST_TEXT = 150, 60


#: The command, but for its story: what answers is up, and all went well.
UNTOLD = """
import typer
from pipeline.cli import demo
demo._play = lambda stack, screen, standby: stack.start_serving() is None
typer.run(demo.demo)
"""


class Demo:
    """A demo that runs in an empty folder, with another one for what is temporary."""

    def __init__(self, folder: Path, *arguments: str, command: Sequence[str] = (*PIPELINE, "demo")) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        empty = folder / "empty"
        empty.mkdir()
        # neither of these is the demo's business
        (empty / ".env").write_text("CITE_AGENT_LEASE=nonsense\n")
        given = environment(CITE_AGENT_DATABASE_URL="postgresql://127.0.0.1:1/nowhere", TMPDIR=str(self.temporary))
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *arguments], cwd=empty, env=given, stdout=output, stderr=subprocess.STDOUT
            )
        self.family: list[psutil.Process] = []

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str, timeout: float = 90) -> None:
        eventually(lambda: words in self.said() or self.process.poll() is not None, timeout, what=words)
        assert words in self.said(), self.said()
        self.family = process.family(self.process.pid)

    def left_behind(self) -> list[object]:
        """What should be gone by now. Who has ended and waits for the system to take note of it is gone."""
        return [*self.temporary.iterdir(), *(one for one in self.family if still_runs(one))]


def still_runs(one: psutil.Process) -> bool:
    try:
        return bool(one.is_running() and one.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def flat(said: str) -> str:
    """Without the line breaks, of which there are as many as the screen is narrow."""
    return " ".join(said.split())


@pytest.mark.defaults
def test_the_demo_shows_what_is_promised_within_two_minutes(tmp_path: Path) -> None:
    began = time.monotonic()
    demo = Demo(tmp_path)
    demo.wait_for("agent  [simulated]")
    first_text = time.monotonic() - began
    assert demo.process.wait(150) == 0, demo.said()
    took = time.monotonic() - began
    said = demo.said()

    assert not {"\x1b", "\r"} & set(said)
    assert max(map(len, said.splitlines())) <= 80
    shows_retries_and_a_rescue(said)
    shows_a_breaker(flat(said))
    shows_an_archive(flat(said))
    assert said.count("   holds  ") == len(invariants.RULES)
    assert not demo.left_behind()
    assert first_text < FIRST_TEXT
    assert took < ALL


def shows_retries_and_a_rescue(said: str) -> None:
    assert re.findall(r"Attempt \d failed with http_503; the next begins in \d s", said) == [
        "Attempt 1 failed with http_503; the next begins in 1 s",
        "Attempt 2 failed with http_503; the next begins in 2 s",
    ]
    assert said.count("kill -9") == 1
    assert said.count("restarted") == 1
    assert len(re.findall(r"^ +\d (?:ada|agent)  ", said, re.MULTILINE)) == 6
    outcomes = re.findall(r"^(\d) +(\d) .* (succeeded|retried) +(\S+) ", said, re.MULTILINE)
    assert outcomes == [
        ("1", "1", "succeeded", "-"),
        ("2", "1", "retried", "http_503"),
        ("2", "2", "retried", "http_503"),
        ("2", "3", "succeeded", "-"),
        ("3", "1", "retried", "worker_lost"),
        ("3", "2", "succeeded", "-"),
    ]


def shows_a_breaker(shown: str) -> None:
    assert "The breaker of 'simulator' is open, for http_503" in shown
    assert "answered by 'standby', chosen by order; simulator: breaker_open" in shown
    assert "Three of three went well: the breaker is closed" in shown


def shows_an_archive(shown: str) -> None:
    assert re.findall(r"Archived by the worker for upkeep: messages 1 to 6, \d+ bytes; 4 messages stay hot", shown)
    assert "summary" in shown
    assert "Read back whole: messages 1 to 12" in shown
    assert "Restored: 6 messages are hot again, from message 1 on" in shown
    assert "messages: 12, of which 0 in cold storage" in shown
    assert "No message and no object of it is left" in shown


@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(what: signal.Signals, tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demo.wait_for("Starting Postgres")
    eventually(lambda: list(demo.temporary.glob("*/data/postgres")), 60, what="Postgres has begun to start")
    demo.family = process.family(demo.process.pid)
    demo.process.send_signal(what)
    assert demo.process.wait(60) == 130, demo.said()
    assert "Traceback" not in demo.said()
    assert not demo.left_behind()


def test_a_broken_invariant_is_shown(desk: Desk, store: Database, sql: Sql, capsys: pytest.CaptureFixture[str]) -> None:
    one = new()
    desk.accept(one)
    requests: list[UUID] = [one.id]
    assert print_report(Screen(), store, requests)
    sql.execute("UPDATE requests SET text = NULL")
    assert not print_report(Screen(), store, requests)
    said = capsys.readouterr().out
    assert "BROKEN  text_in_one_place" in said
    assert str(one.id) in said


@pytest.mark.parametrize(("held", "code"), [(True, 0), (False, 1)], ids=["all held", "one broke"])
def test_a_demo_says_by_its_exit_code_whether_the_invariants_held(
    monkeypatch: pytest.MonkeyPatch, code: int, *, held: bool
) -> None:
    monkeypatch.setattr("pipeline.cli.demo._play", lambda *_: held)
    monkeypatch.setattr("pipeline.cli.demo._interrupt_on_signals", lambda: None)
    assert CliRunner().invoke(main, ["demo"]).exit_code == code


def test_a_demo_that_is_kept_can_be_used_from_another_terminal_until_it_is_interrupted(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--keep", command=(sys.executable, "-c", UNTOLD))
    demo.wait_for("logs ")
    said = demo.said()
    assert re.search(r"Flower +http://127\.0\.0\.1:\d+ \(user pipeline, password \S+\)", flat(said))
    (stack_file,) = re.findall(r"export CITE_AGENT_STACK_FILE=(\S+)", said)
    asking = ("ask", "And?", "--user", "ada", "--conversation", "thesis")
    asked = run(*asking, folder=tmp_path, CITE_AGENT_STACK_FILE=stack_file)
    assert "[simulated]" in asked.stdout, asked.stderr
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(60) == 0, demo.said()
    assert not demo.left_behind()
