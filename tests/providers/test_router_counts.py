"""What is counted of the router's calls, and what they ask of the broker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from pipeline import signals
from pipeline.providers.simulator import Simulator
from tests.providers.conftest import Route
from tests.providers.routed import settled


def test_calls_errors_tokens_money_and_openings_are_counted_by_provider(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script(*["503"] * 10)
    one = route(providers=[{}, {"input_price": 1000.0, "output_price": 1000.0}])
    before = {name: sampled(name, labels) for name, labels in COUNTED.items()}
    for _ in range(10):
        one.call()
    settled(one)
    for call in one.calls:  # as the turn does, and the worker
        signals.provider_called(call)
    signals.provider_paid(one.calls, used=True)
    grown = {name: sampled(name, labels) - before[name] for name, labels in COUNTED.items()}
    used = sum(call.usage.input_tokens + call.usage.output_tokens for call in one.calls)
    assert grown == {
        "cite_agent_provider_requests_total": 10,
        "cite_agent_provider_errors_total": 10,
        "cite_agent_provider_latency_seconds_count": 10,
        "cite_agent_circuit_breaker_trips_total": 1,
        "cite_agent_provider_cost_total": pytest.approx(used / 1000),
    }


#: What a dead first and a good second provider are counted as.
COUNTED = {
    "cite_agent_provider_requests_total": {"provider": "p1", "status": "success"},
    "cite_agent_provider_errors_total": {"provider": "p0", "error_type": "http_503"},
    "cite_agent_provider_latency_seconds_count": {"provider": "p1"},
    "cite_agent_circuit_breaker_trips_total": {"provider": "p0"},
    "cite_agent_provider_cost_total": {"provider": "p1", "used": "true"},
}


def sampled(name: str, labels: dict[str, str]) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_call_takes_one_round_trip_to_the_broker_at_most(route: Route, simulators: list[Simulator]) -> None:
    one = route(1)
    one.call()
    settled(one)
    one.client.config_resetstat()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [one.call() for _ in range(10)], range(8)))
    settled(one)
    asked = int(one.client.info("commandstats")["cmdstat_evalsha"]["calls"])
    assert asked <= 80 + 5, "settlements go along with the next call's"
