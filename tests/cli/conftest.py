from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.settings import current
from tests.store.fixtures import desk, sql, store

__all__ = ["desk", "sql", "store"]

Cli = Callable[..., Result]


@pytest.fixture
def ledger_url(database: str) -> str:
    """The database that the commands are given."""
    return database


@pytest.fixture
def cli(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cli]:
    """`cli("requests", "list")` against this test's database: the result of the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("CITE_AGENT_DATABASE_URL", database)
    monkeypatch.setenv("CITE_AGENT_COLD_STORAGE_URL", str(tmp_path / "archives"))
    current.cache_clear()
    yield lambda *arguments: CliRunner().invoke(main, arguments)
    current.cache_clear()
