"""What of a running pipeline is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from uuid import uuid4

import psycopg
import pytest

from pipeline.errors import ConfigurationError
from pipeline.store.database import Database
from stress.plan import Closed, Plan
from stress.target import attached, live_workers, takes_requests
from tests.servers import Broker, eventually

CELERY = ["python", "-m", "celery", "-A", "pipeline"]


@pytest.mark.parametrize(
    ("command", "taken"),
    [
        ([*CELERY, "worker", "-n", "worker1@%h", "-E"], True),
        ([*CELERY, "worker", "-Q", "urgent,normal"], True),
        ([*CELERY, "worker", "-Q", "archive,maintenance", "-c", "4"], False),
        ([*CELERY, "worker", "--queues=archive,maintenance"], False),
        ([*CELERY, "beat"], False),
        (["/usr/lib/postgresql/postgres"], False),
    ],
)
def test_memory_is_that_of_the_workers_that_take_requests(command: list[str], taken: bool) -> None:  # noqa: FBT001
    assert takes_requests(command) is taken


def test_of_the_ledgers_workers_those_count_that_live_and_are_here(database: str) -> None:
    register = (
        "INSERT INTO workers (id, name, pid, lease_until, claimed_through) VALUES (%s, 'w', %s, now() + %s, '{}')"
    )
    wait = [sys.executable, "-c", "import sys; sys.stdin.read()", "worker"]
    store = Database(database, size=1)
    with subprocess.Popen(wait, stdin=subprocess.PIPE) as here, subprocess.Popen(wait, stdin=subprocess.PIPE) as late:
        with psycopg.connect(database) as connection:
            for pid, lease in ((here.pid, "1 hour"), (late.pid, "-1 hour"), (os.getpid(), "1 hour"), (2**22, "1 hour")):
                connection.execute(register, (uuid4(), pid, lease))
        found = eventually(lambda: live_workers(store), what="the process has become what it is")
        assert [process.pid for process in found or ()] == [here.pid]
        here.communicate()
        late.communicate()
    store.close()


#: Where nobody listens, with passwords that nobody is to see.
NO_POSTGRES, NO_BROKER = "postgresql://me:hunter2@127.0.0.1:1/nothing", "redis://:hunter2@127.0.0.1:1/0"
NO_SIMULATOR = "http://127.0.0.1:1"


def attach(database_url: str, broker_url: str, simulator_url: str | None = None) -> str:
    """What is said of the attempt, which fails."""
    plan = Plan("none", Closed())
    with (
        pytest.raises(ConfigurationError) as refusal,
        attached(plan, database_url=database_url, broker_url=broker_url, simulator_url=simulator_url),
    ):
        pass
    return str(refusal.value)


def test_what_is_not_there_to_attach_to_is_named_with_the_option_that_could_help(database: str, broker: Broker) -> None:
    postgres = attach(NO_POSTGRES, broker.url)
    assert postgres.startswith("Postgres at 127.0.0.1:1, database 'nothing' does not answer")
    assert "--database-url" in postgres
    valkey = attach(database, NO_BROKER)
    assert valkey.startswith("The broker at 127.0.0.1:1 does not answer")
    assert "--broker-url" in valkey
    simulator = attach(database, broker.url, NO_SIMULATOR)
    assert simulator.startswith(f"The simulator at {NO_SIMULATOR} does not answer")
    assert "--simulator-url" in simulator
    assert "hunter2" not in postgres + valkey + simulator
