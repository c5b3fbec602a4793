"""Worker processes of one side, from start to stop."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

from stress.overhead.sides import Setup, Side

#: The folder that holds the packages `stress` and `pipeline`.
ROOT = Path(__file__).resolve().parents[2]

#: Seconds for workers to start, and to stop.
PATIENCE = 60.0


def environment(side: Side, setup: Setup) -> dict[str, str]:
    """What a process of this side is started with."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **side.environment(setup)}


@contextmanager
def fleet(side: Side, setup: Setup) -> Iterator[list[psutil.Process]]:
    """The side's workers, consuming. Raises RuntimeError with the end of their log where they do not come up."""
    with tempfile.TemporaryFile() as log:
        started = [
            subprocess.Popen(
                side.command(number), cwd=ROOT, env=environment(side, setup), stdout=log, stderr=subprocess.STDOUT
            )
            for number in range(1, setup.processes + 1)
        ]
        try:
            _wait_for_consumers(setup, started)
            yield [psutil.Process(worker.pid) for worker in started]
            _check_alive(started)
        except BaseException as error:
            log.seek(0)
            error.add_note(log.read()[-4000:].decode(errors="replace"))
            raise
        finally:
            _stop(started)


def _wait_for_consumers(setup: Setup, started: list[subprocess.Popen[bytes]]) -> None:
    """A worker that consumes has a client that blocks in the broker (flag `b`)."""
    until = time.monotonic() + PATIENCE
    with redis.Redis.from_url(setup.servers.broker_url) as broker:
        while sum("b" in client["flags"] for client in broker.client_list()) < len(started):
            _check_alive(started)
            if time.monotonic() > until:
                raise RuntimeError("the workers did not come up")
            time.sleep(0.1)


def _check_alive(started: list[subprocess.Popen[bytes]]) -> None:
    if any(worker.poll() is not None for worker in started):
        raise RuntimeError("a worker died")


def _stop(started: list[subprocess.Popen[bytes]]) -> None:
    for worker in started:
        worker.terminate()
    for worker in started:
        try:
            worker.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
