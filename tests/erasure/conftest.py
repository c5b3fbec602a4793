"""Conversations to erase: on one database, with a folder and a broker of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import Client, Settings
from pipeline.archive.storage import Folder
from pipeline.store.database import Database
from tests.archive.conftest import archiver, folder, library, make_archiver, storage
from tests.servers import Broker
from tests.store.fixtures import desk, emptied_between_tests, ledger_url, sql, store

__all__ = [
    "archiver",
    "desk",
    "emptied_between_tests",
    "folder",
    "ledger_url",
    "library",
    "make_archiver",
    "sql",
    "storage",
    "store",
]

Connect = Callable[..., Client]


@pytest.fixture
def connect(ledger_url: str, folder: Path, broker: Broker) -> Iterator[Connect]:
    """Makes clients, with these settings."""
    made: list[Client] = []

    def make(**changes: Any) -> Client:
        quick: dict[str, Any] = {"broker_timeout": 0.5, "outcome_poll": 0.2, "cold_storage_url": str(folder)}
        given = {"database_url": ledger_url, "broker_url": broker.url, **quick, **changes}
        made.append(Client(Settings(**given)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()


@pytest.fixture
def objects(storage: Folder, store: Database) -> Callable[[], list[str]]:
    """The names of the files in cold storage, those that are no objects included."""
    del store
    return lambda: sorted(one.name for one in storage.folder.iterdir()) if storage.folder.exists() else []
