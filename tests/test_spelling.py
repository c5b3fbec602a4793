"""Variables that look like settings and are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.doctor import CHECKS, Level
from pipeline.doctor.site import Site
from pipeline.settings import Settings
from pipeline.spelling import unknown_variables


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("CITE_AGENT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_variable_that_is_misspelt_is_told_of_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_USER_CONCURENCY", "hunter2")
    monkeypatch.setenv("CITE_AGENT_XYZZY", "hunter2")
    assert unknown_variables() == {
        "CITE_AGENT_USER_CONCURENCY": "CITE_AGENT_USER_CONCURRENCY",
        "CITE_AGENT_XYZZY": None,
    }
    found = list(CHECKS["variables"](Site(Settings())))
    assert [one.level for one in found] == [Level.warning] * 2
    assert "set CITE_AGENT_USER_CONCURRENCY instead" in str(found[0].remedy)
    assert "hunter2" not in str(found)


def test_what_is_a_setting_or_read_otherwise_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_LEASE", "20")
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", "stack.json")
    assert unknown_variables() == {}
    assert [one.level for one in CHECKS["variables"](Site(Settings()))] == [Level.fine]


def test_the_env_file_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# CITE_AGENT_NOT_THIS=1\nCITE_AGENT_LEASE=20\n export CITE_AGENT_LAESE = 20\nPASSWORD=1\n"
    )
    assert unknown_variables() == {"CITE_AGENT_LAESE": "CITE_AGENT_LEASE"}
