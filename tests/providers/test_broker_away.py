"""The router while the broker is away: each worker has a gate of its own."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from prometheus_client import REGISTRY

from pipeline.errors import Deferred, ProviderError
from pipeline.providers.breaker import reset
from pipeline.providers.gate.gate import PAUSE, Ticket, Verdict
from pipeline.providers.gate.machine import Offer
from pipeline.providers.simulator import Fault, Simulator
from pipeline.providers.simulator.behaviour import Fixed
from tests.providers.conftest import Route
from tests.providers.routed import Routed, always, settled
from tests.servers import Broker, eventually, quickest, seconds_of

#: A call of 100 tokens.
OFFER = Offer(0, 100, 30.0)


def taken(one: Routed) -> Ticket:
    ticket = one.gate.admit([OFFER]).ticket
    assert ticket is not None
    return ticket


def on_disk(client: redis.Redis) -> None:
    """Wait until the broker has in its log what it was told: while the disk is busy it writes up to two seconds late,
    and one that is killed meanwhile has forgotten it."""
    with client.client() as alone:  # type: ignore[no-untyped-call] # redis-py gives it no types
        alone.set("last", 1)  # it waits for what came over the same connection, and so for all before it
        assert alone.waitaof(1, 0, 10_000)[0] == 1


def why_not(one: Routed) -> str:
    admission = one.gate.admit([OFFER])
    assert admission.ticket is None
    return admission.refusals[0].why


def after_ten_failures(route: Route, simulators: list[Simulator]) -> Routed:
    """A router whose provider has failed often enough to open its breaker for a second, and is well again."""
    simulators[0].script(*["503"] * 10)
    one = route(breaker_open_seconds=1, breaker_half_open_calls=1, breaker_ramp_seconds=0.2)
    for _ in range(10):
        one.call()
    return one


def test_with_the_broker_away_each_worker_goes_on_with_its_own_breaker(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    simulators[0].script(**always("503"))
    one = route()
    for _ in range(6):
        one.call()
    broker.kill()
    for _ in range(20):
        assert one.call().reply.provider == "p1"
    assert simulators[0].counts.arrived == 10, "what was seen before counts"
    assert one.calls[-1].choice == "by order; p0: breaker_open"

    broker.start()
    eventually(lambda: one.call() and simulators[0].counts.arrived > 10, what="a broker that was emptied lets it try")


def test_with_the_broker_away_each_worker_takes_its_share_of_the_limits(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    for simulator in simulators:
        simulator.script(latency=Fixed(seconds=0.6))
    one = route(providers=[{"max_concurrency": 6}], living=lambda: 3)
    broker.kill()
    before = REGISTRY.get_sample_value("cite_agent_circuit_breaker_local_total") or 0.0
    with ThreadPoolExecutor(5) as pool:
        replies = list(pool.map(lambda _: one.call().reply.provider, range(5)))
    assert sorted(replies) == ["p0", "p0", "p1", "p1", "p1"]
    assert REGISTRY.get_sample_value("cite_agent_circuit_breaker_local_total") == before + 5


def test_what_the_fleet_let_in_counts_when_the_broker_goes_away(route: Route, broker: Broker) -> None:
    one = route(1, providers=[{"max_concurrency": 3, "requests_per_minute": 5, "tokens_per_minute": 1000}])
    tickets = [taken(one) for _ in range(3)]
    broker.kill()
    assert why_not(one) == "concurrency"
    one.gate.settle(tickets[0], Verdict(tokens=40))
    assert sum(second[2] for second in one.gate._machine.spent[0].seconds) == 240, "what was not used is given back"
    one.gate.settle(taken(one), Verdict())
    one.gate.settle(taken(one), Verdict())
    assert why_not(one) == "requests_per_minute"


def test_a_retry_after_that_is_heard_while_the_broker_is_away_is_told_when_it_is_back(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    one, other = route(1), route(1)
    one.call()
    broker.kill()
    simulators[0].script(Fault(kind="429", retry_after=60))
    with pytest.raises(ProviderError, match="http_429"):
        one.call()
    broker.start()
    time.sleep(PAUSE)  # it is asked again
    for router in (one, other):
        with pytest.raises(Deferred, match="retry_after"):
            router.call()
    assert simulators[0].counts.arrived == 2


def test_a_retry_after_that_was_taken_back_by_hand_does_not_come_again_with_the_broker(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    one = route(1)
    simulators[0].script(Fault(kind="429", retry_after=600))
    with pytest.raises(ProviderError, match="http_429"):
        one.call()
    settled(one)
    reset(one.client, one.settings, one.settings.configured_providers)
    one.call()
    on_disk(one.client)
    broker.kill()
    one.call()
    broker.start()
    time.sleep(PAUSE)  # it is asked again
    one.call()
    assert simulators[0].counts.arrived == 4


def test_a_broker_that_stood_still_holds_no_slot_for_a_call_that_went_on_without_it(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    one = route(1, providers=[{"max_concurrency": 1}])
    one.call()
    settled(one)
    broker.freeze()
    one.call()
    broker.thaw()
    one.client.ping()  # what was sent before has been done
    eventually(lambda: one.facts()[0].under_way == 0, what="the slot is given back long before its call's time-out")


def test_a_breaker_closes_although_the_broker_stood_still_when_its_trial_was_asked_for(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    one = after_ten_failures(route, simulators)
    settled(one)
    assert one.facts()[0].state == "open"
    broker.freeze()
    time.sleep(1.1)  # trials may begin
    one.call()
    broker.thaw()
    one.client.ping()
    eventually(lambda: one.call() and one.facts()[0].state == "closed", what="the lost trial's place is given back")


def test_a_worker_whose_provider_is_well_again_knows_it_when_the_broker_goes_away(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    one = after_ten_failures(route, simulators)
    eventually(lambda: one.call().reply.provider == "p0", what="a trial")
    settled(one)
    assert one.facts()[0].state == "closed"
    broker.kill()
    assert [one.call().reply.provider for _ in range(5)] == ["p0"] * 5
    assert one.gate._machine.breakers[0].epoch == 2, "it has not been tried for a second time"


def test_a_frozen_broker_costs_a_call_a_second_or_two_once(
    route: Route, simulators: list[Simulator], broker: Broker
) -> None:
    one = route(1, broker_timeout=0.5)
    one.call()
    broker.freeze()
    assert seconds_of(one.call) < 10
    assert quickest(lambda: seconds_of(one.call), 0.5) < 0.5
    broker.thaw()
