"""What of a running pipeline is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from uuid import uuid4

import psycopg
import pytest

from pipeline.store.database import Database
from stress.target import live_workers, takes_requests
from tests.servers import eventually

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
