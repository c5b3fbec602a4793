"""Fleets on servers that a test may break. Whatever it did: at its end the ledger's invariants hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.providers.simulator import Simulator
from pipeline.worker.runtime import Runtime
from tests.faults.wiretap import Wiretap
from tests.fleet import Fleet
from tests.servers import Broker

MakeFleet = Callable[..., Fleet]

#: Whether a test has failed, for its fixtures.
FAILED = pytest.StashKey[bool]()


@pytest.fixture
def make_fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeFleet]:
    """`make_fleet(database_url, broker_url, **settings)`; checked and closed at the end of the test."""
    made: list[Fleet] = []

    def make(database: str, broker: str, **settings: Any) -> Fleet:
        folder = tmp_path / f"fleet-{len(made)}"
        folder.mkdir()
        made.append(Fleet(folder, database, broker, **settings))
        return made[-1]

    yield make
    try:
        for fleet in made:
            if request.node.stash.get(FAILED, False):
                print(fleet.describe())  # noqa: T201 - pytest shows it with the failure
            else:
                fleet.verify()
    finally:
        for fleet in made:
            fleet.close()


@pytest.fixture
def fleet(database: str, broker: Broker, make_fleet: MakeFleet) -> Fleet:
    """One with QUICK settings, whose workers are yet to be started."""
    return make_fleet(database, broker.url)


@pytest.fixture
def runtime(fleet: Fleet) -> Iterator[Runtime]:
    """What a worker has beside Celery, without its threads. What is left unfinished may stay so."""
    fleet.may_leave_unfinished = True
    made = Runtime(fleet.settings, "its worker")
    made._register()
    yield made
    made.stop()


@pytest.fixture
def wiretap(broker: Broker) -> Iterator[Wiretap]:
    """Hears all that is published in the broker."""
    with Wiretap(broker.url) as tap:
        yield tap


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A provider of the test's own."""
    with Simulator() as one:
        yield one


def provider_at(url: str) -> list[dict[str, str]]:
    """The setting `providers` for one endpoint."""
    return [{"name": "simulator", "base_url": url, "model": "simulated"}]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember how the test itself went."""
    if call.when == "call":
        item.stash[FAILED] = call.excinfo is not None
    return (yield)
