"""Real servers for the tests: a database each, cloned from one migrated template, and servers of their own to break."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.local import accounts, folders
from pipeline.local.postgres import Postgres
from tests.servers import Broker, SharedPostgres, copy_data

#: The shared server's folder within that of the run.
SHARED = "shared-postgres"


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory: pytest.TempPathFactory) -> SharedPostgres:
    """The run's Postgres; with xdist all of its processes share one."""
    base, owner = tmp_path_factory.getbasetemp(), os.getpid()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base, owner = base.parent, os.getppid()
    shared = SharedPostgres(base / SHARED)
    shared.start_once(for_process=owner)
    return shared


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop it at the end of the run; should the run be killed, its keeper notices."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None and not hasattr(config, "workerinput"):
        SharedPostgres(factory.getbasetemp() / SHARED).stop()


@pytest.fixture
def database(shared_postgres: SharedPostgres) -> Iterator[str]:
    """The URL of a database of the test's own, with this version's tables and nothing in them."""
    name = f"test_{uuid4().hex}"
    yield shared_postgres.clone(name)
    shared_postgres.drop(name)


@pytest.fixture
def own_postgres(shared_postgres: SharedPostgres, tmp_path: Path) -> Iterator[Postgres]:
    """A Postgres of the test's own, to break; its database at `.url` has this version's tables."""
    data = tmp_path / "postgres"
    copy_data(shared_postgres.seed, data)
    sockets = folders.for_sockets(accounts.for_postgres(data))
    postgres = Postgres(data, sockets)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop(mode="immediate")
        folders.remove_sockets(sockets)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A Valkey of the test's own, to break."""
    sockets = folders.for_sockets()
    broker = Broker(tmp_path / "valkey", sockets)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        folders.remove_sockets(sockets)
