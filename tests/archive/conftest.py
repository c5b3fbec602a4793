"""Conversations to archive, on one database, and a folder to archive them to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.archiver import Archiver
from pipeline.archive.storage import Folder, Storage
from pipeline.archive.summary import Extractive, Summariser
from pipeline.schemas import Message
from pipeline.store.archives import Rules
from pipeline.store.database import Database
from tests.archive.library import Library, rules
from tests.store.desk import Desk, Sql
from tests.store.fixtures import desk, emptied_between_tests, ledger_url, sql, store

__all__ = ["desk", "emptied_between_tests", "ledger_url", "sql", "store"]

MakeArchiver = Callable[..., Archiver]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archives"


@pytest.fixture
def storage(folder: Path) -> Folder:
    return Folder(folder)


@pytest.fixture
def make_archiver(store: Database, storage: Folder) -> Iterator[MakeArchiver]:
    """`make_archiver(storage=…, summariser=…, compression=…, **rules)`."""
    made: list[Archiver] = []

    def make(
        storage: Storage = storage,
        summariser: Summariser | None = None,
        compression: str = "zstd",
        database: Database = store,
        **changes: Any,
    ) -> Archiver:
        given: Rules = rules(**changes)
        made.append(Archiver(database, storage, summariser or Extractive(), given, compression))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def archiver(make_archiver: MakeArchiver) -> Archiver:
    """More than four hot messages are too many, and two stay hot."""
    return make_archiver()


@pytest.fixture
def library(store: Database, storage: Folder, sql: Sql, desk: Desk) -> Library:
    return Library(store, storage, sql, desk)


@pytest.fixture
def tool_turn() -> tuple[Message, Message]:
    """A tool call and its result."""
    return (
        Message("assistant", "", tool_calls=({"id": "1", "type": "function"},)),
        Message("tool", "42", tool_call_id="1", metadata={"source": "Knuth"}),
    )
