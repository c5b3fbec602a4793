"""Servers and workers of one test's own, for the tests here break them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.transport.harness import Broker, Sender, Worker

StartWorker = Callable[..., Worker]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own: the path of a Unix socket must stay under 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="transport-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def broker(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder)
    broker.start()
    yield broker
    broker.close()


@pytest.fixture
def sender(broker: Broker) -> Iterator[Sender]:
    sender = Sender(broker)
    yield sender
    sender.close()


@pytest.fixture
def start_worker(broker: Broker, folder: Path) -> Iterator[StartWorker]:
    """Starts workers, and at the end makes sure that they are gone."""
    workers: list[Worker] = []

    def start(*, slots: int = 4, options: tuple[str, ...] = ()) -> Worker:
        workers.append(Worker(broker, folder, slots=slots, options=options))
        workers[-1].wait_until_ready()
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait(60)
