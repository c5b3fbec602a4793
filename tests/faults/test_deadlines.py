"""Past its deadline a request is not sent to a provider any more."""

from __future__ import annotations

import pytest

from pipeline import RequestExpired
from pipeline.providers.simulator import Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually


@pytest.fixture
def asking(database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet) -> Fleet:
    return make_fleet(database, broker.url, providers=provider_at(simulator.url), worker_slots=1)


def test_neither_when_it_waited_too_long_nor_when_its_agent_calls_too_late(asking: Fleet, simulator: Simulator) -> None:
    waited = asking.ask("waits for a worker", agent="chat", deadline=0.3, user_id="early")
    eventually(lambda: asking.scalar("SELECT bool_and(deadline < now()) FROM requests"), PATIENCE)
    asking.start(1)
    late = asking.ask("calls too late", agent="dawdles", seconds=1.2, deadline=1.0)
    in_time = asking.ask("calls in time", agent="dawdles", seconds=0.1, deadline=PATIENCE, user_id="bob")
    for handle in (waited, late):
        with pytest.raises(RequestExpired):
            handle.result(PATIENCE)
    assert in_time.result(PATIENCE).text
    counts = simulator.counts
    assert [counts.of_text(text) for text in ("waits for a worker", "calls too late", "calls in time")] == [0, 0, 1]
