"""A fleet with its exporter, and what is known of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from pipeline import signals
from pipeline.providers.simulator import Simulator
from tests.fleet import Fleet
from tests.metrics.scraping import ExporterProcess
from tests.servers import Broker


class MakeKnown(Protocol):
    """`make_known("ada", …)` makes them users, as accepting a request of theirs does."""

    def __call__(self, *names: str) -> None: ...


@pytest.fixture
def make_known(database: str) -> MakeKnown:
    def make(*names: str) -> None:
        with psycopg.connect(database) as connection:
            connection.execute("INSERT INTO users (user_id) SELECT unnest(%s::text[])", [list(names)])

    return make


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A provider of the test's own."""
    with Simulator() as one:
        yield one


@pytest.fixture
def fleet(tmp_path: Path, database: str, broker: Broker, simulator: Simulator) -> Iterator[Fleet]:
    """One that asks the simulator, whose workers are yet to be started. What this process counted before is settled."""
    signals.estate.settle()
    providers = [{"name": "simulator", "base_url": simulator.url, "model": "simulated", "input_price": 1.0}]
    fleet = Fleet(tmp_path, database, broker.url, providers=providers)
    try:
        yield fleet
    except BaseException:
        print(fleet.describe())  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        fleet.close()


@pytest.fixture
def exporter(fleet: Fleet) -> Iterator[ExporterProcess]:
    """The fleet's exporter, which is yet to be started."""
    exporter = ExporterProcess(fleet)
    yield exporter
    exporter.kill()
