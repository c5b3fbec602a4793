"""What a worker has done with goes by itself: a collector that has to find it stops every thread, and comes late."""

from __future__ import annotations

import pytest

from pipeline import RequestFailed
from pipeline.providers.simulator import Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE
from tests.servers import Broker

#: Objects that a request may leave to a collector. A retry leaves Celery's own entry in its timer, which leads to the
#: task and back; the frames that led to a failure would be some 3,000 more.
FEW = 100

REQUESTS = 5


@pytest.mark.parametrize(
    ("faults", "answered"),
    [([], True), (["503"], True), (["400"], False)],
    ids=["an answered request", "a retried one", "a failed one"],
)
def test_next_to_nothing_is_left_to_the_collector_by(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet, faults: list[str], *, answered: bool
) -> None:
    agents = "tests.faults.collecting_agents"
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url), agents=agents)
    fleet.start(1)

    def left() -> int:
        return int(fleet.ask(agent="collect", user_id="collector").result(PATIENCE).text)

    def ask() -> None:
        simulator.script(*faults)
        handle = fleet.ask(agent="chat")
        if answered:
            handle.result(PATIENCE)
        else:
            with pytest.raises(RequestFailed):
                handle.result(PATIENCE)

    ask()
    left()
    for _ in range(REQUESTS):
        ask()
    assert left() / REQUESTS < FEW
