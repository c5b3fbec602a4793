"""A fleet for the harness to watch, which the tests of a module share, and a ledger that guards nothing."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psutil
import psycopg
import pytest

from pipeline.local import folders
from stress.target import Target
from tests.cli.test_invariants import GUARDS
from tests.fleet import Fleet
from tests.servers import Broker, SharedPostgres

AGENTS = "tests.stress.planted_agents"


@pytest.fixture(scope="module")
def fleet(shared_postgres: SharedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker, whose agents have defects."""
    name, folder = f"test_{uuid4().hex}", tmp_path_factory.mktemp("fleet")
    sockets = folders.for_sockets()
    broker = Broker(folder / "valkey", sockets)
    url = shared_postgres.clone(name)
    broker.start()
    fleet = Fleet(folder, url, broker.url, agents=AGENTS, worker_slots=50)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.close()
        broker.kill()
        folders.remove_sockets(sockets)
        shared_postgres.drop(name)


@pytest.fixture(scope="module")
def target(fleet: Fleet) -> Target:
    """That fleet, as a run sees it."""
    workers = [psutil.Process(worker.pid) for worker in fleet.workers]
    return Target(settings=fleet.settings, environment=fleet.environment, parts={"workers": lambda: workers})


@pytest.fixture(scope="module")
def unguarded(shared_postgres: SharedPostgres) -> Iterator[str]:
    """The URL of a database that takes whatever is written to it."""
    name = f"test_{uuid4().hex}"
    url = shared_postgres.clone(name)
    with psycopg.connect(url) as connection:
        for guard in GUARDS:
            connection.execute(guard)
    yield url
    shared_postgres.drop(name)
