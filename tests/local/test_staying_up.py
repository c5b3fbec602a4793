"""A stack that runs: all of it is watched, a terminal's Ctrl-C reaches it alone, and a second one is in a hurry."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from pipeline.local.process import Launch
from pipeline.local.program import Program, has_said
from pipeline.local.stack import LocalStack, Parts
from pipeline.settings import Settings
from tests.local.serving import PARTS
from tests.local.test_supervisor import STUBBORN, program
from tests.servers import eventually

#: Once it is told to stop, whatever it was told of must still be there.
LEANS_ON_SERVERS = """
import signal, socket, sys
def told(*_):
    for path in sys.argv[1:]:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    print("all there", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, told)
print("at work", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def lines() -> list[str]:
    """What the stack reports."""
    return []


def stack_on(tmp_path: Path, lines: list[str], parts: Parts, **settings: Any) -> LocalStack:
    return LocalStack(tmp_path, parts, announced=False, settings=Settings(**settings), report=lines.append)


def test_servers_and_simulator_that_die_are_started_again_where_they_were_with_their_data(
    tmp_path: Path, lines: list[str]
) -> None:
    with stack_on(tmp_path / "data", lines, PARTS) as stack:
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("CREATE TABLE kept ()")
        killed = {one.name: one.pid for one in stack.programs}
        for one in stack.programs:
            one.kill()
        for name in killed:
            eventually(lambda name=name: any(line.startswith(f"{name} is back") for line in lines), what=name)  # type: ignore[misc]
        assert not {one.pid for one in stack.programs} & set(killed.values())
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        with redis.Redis.from_url(stack.broker_url) as client:
            assert client.ping()


def test_what_is_started_after_the_workers_is_watched_as_well(tmp_path: Path, lines: list[str]) -> None:
    with stack_on(tmp_path / "data", lines, Parts(workers=0, upkeep=False, flower=False, exporter=False)) as stack:
        beat = stack.programs[-1]
        assert beat.name == "beat"
        beat.kill()
        eventually(lambda: any(line.startswith("beat is back") for line in lines), what="beat is back")


def test_a_terminals_ctrl_c_reaches_no_program_but_the_stack_which_stops_them_in_their_order(
    tmp_path: Path, lines: list[str]
) -> None:
    with stack_on(tmp_path / "data", lines, PARTS) as stack:
        for one in stack.programs:
            assert one.pid is not None
            assert os.getpgid(one.pid) != os.getpgrp(), one.name


def test_whoever_works_is_stopped_while_the_servers_are_still_there(tmp_path: Path, lines: list[str]) -> None:
    with stack_on(tmp_path / "data", lines, PARTS) as stack:
        sockets = [str(one) for server in stack.servers for one in server.sockets.iterdir() if one.is_socket()]
        assert len(sockets) == 2
        command = [sys.executable, "-c", LEANS_ON_SERVERS, *sockets]
        worker = Program("worker1", Launch(command, tmp_path / "worker1.log"), ready=has_said("at work"))
        stack.workers.append(worker)
        worker.start()
    assert worker.said() == "at work\nall there"
    assert lines.index("Stopping worker1") < lines.index("Stopping simulator")


def test_a_second_ctrl_c_does_not_wait_for_what_does_not_end(tmp_path: Path, lines: list[str]) -> None:
    stack = stack_on(tmp_path / "data", lines, PARTS, stop_timeout=600)
    stubborn: Program = program(tmp_path, STUBBORN)
    stubborn.start()
    stack.workers.append(stubborn)
    stack.interrupt()
    with ThreadPoolExecutor(1) as thread:
        stopped = thread.submit(stack.stop)
        try:
            eventually(lambda: lines == ["Stopping child"], what="it is asked to stop")
            assert stubborn.alive
            stack.interrupt()
            stopped.result(30)
        finally:
            stubborn.kill()
    assert stubborn.exit_code == -signal.SIGKILL
