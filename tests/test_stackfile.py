"""Where a running local stack says what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import stackfile
from pipeline.errors import ConfigurationError
from pipeline.stackfile import Stack

STACK = Stack(os.getpid(), "postgresql:///up", "unix:///up.sock", flower_password="hunter2")


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", str(tmp_path / "run" / "stack.json"))
    return tmp_path / "run" / "stack.json"


def test_what_is_written_is_read(path: Path) -> None:
    stackfile.write(STACK)
    assert stackfile.path() == path
    assert stackfile.read() == STACK


def test_only_its_owner_can_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        stackfile.write(STACK)
        stackfile.write(STACK)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["stack.json"]


def test_one_that_could_be_read_by_others_is_closed_again(path: Path) -> None:
    stackfile.write(STACK)
    path.chmod(0o644)
    stackfile.write(STACK)
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_stack() -> None:
    assert stackfile.read() is None


def test_a_stack_whose_process_has_died_is_none() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stackfile.write(Stack(dead.pid, "postgresql:///up", "unix:///up.sock"))
    assert stackfile.read() is None


def test_a_stack_whose_process_number_was_used_again_is_none(path: Path) -> None:
    stackfile.write(STACK)
    os.utime(path, (0, 0))
    assert stackfile.read() is None


def test_a_client_without_what_runs_a_stack_finds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stackfile.write(STACK)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert stackfile.read() == STACK


@pytest.mark.parametrize(
    "text",
    ["", '{"pid": 1,', "null", "[]", "{}", '{"pid": "one", "database_url": "hunter2", "broker_url": "b"}',
     '{"pid": 1, "database_url": "hunter2", "broker_url": "b", "a_field_to_come": 1}', '{"pid": 1e400}'],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_told_of_by_its_name_with_a_remedy(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="take the file away") as refused:
        stackfile.read()
    assert str(path) in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_file_taken_away_is_no_stack() -> None:
    stackfile.write(STACK)
    stackfile.remove()
    stackfile.remove()
    assert stackfile.read() is None


def test_without_the_variable_it_is_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CITE_AGENT_STACK_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stackfile.path() == tmp_path / ".cite_agent" / "stack.json"
