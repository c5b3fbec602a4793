"""The router: no failure is final while a provider that may help is merely busy."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import Deferred, ProviderError
from pipeline.providers.simulator import Fault, Simulator
from pipeline.providers.simulator.behaviour import Fixed
from tests.providers.conftest import Route
from tests.providers.routed import always, settled

#: A provider whose context is too short, and a longer one with one call a minute.
LONGER: tuple[dict[str, Any], ...] = ({"max_context": 8000}, {"max_context": 128_000, "requests_per_minute": 1})


@pytest.mark.parametrize(
    ("kind", "facts"), [("context_too_long", LONGER), ("budget", ({}, {"requests_per_minute": 1}))]
)
def test_a_failure_that_would_be_final_waits_for_a_provider_that_may_help(
    route: Route, simulators: list[Simulator], kind: str, facts: tuple[dict[str, Any], ...]
) -> None:
    simulators[0].script(**always(kind))
    one = route(providers=facts)
    assert one.call().reply.provider == "p1"
    settled(one)
    other = route(providers=facts)  # of another worker, which does not know what the first provider says
    with pytest.raises(Deferred) as deferred:
        other.call()
    assert deferred.value.reason == "requests_per_minute"
    assert 50 < deferred.value.seconds <= 61
    assert [(call.provider, call.reason) for call in other.calls] == [("p0", kind)]


def test_a_wait_of_a_moment_after_a_final_failure_is_waited_where_it_is(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script("503", "budget")
    simulators[1].script(Fault(kind="429", retry_after=0.2), latency=Fixed(seconds=0))
    one = route()
    with pytest.raises(ProviderError, match="p1: http_429"):
        one.call()
    settled(one)
    assert one.call().reply.provider == "p1"
    assert [call.reason for call in one.calls] == ["http_503", "http_429", "budget", None]


def test_a_failure_that_is_retried_anyway_is_told_at_once(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(**always("503"))
    one = route(providers=({}, {"requests_per_minute": 1}))
    one.call()
    settled(one)
    with pytest.raises(ProviderError, match="p0: http_503"):
        one.call()


def test_an_exhausted_account_is_not_asked_while_another_provider_is_merely_at_its_limit(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script(**always("budget"))
    one = route(providers=({}, {"requests_per_minute": 1}))
    assert one.call().reply.provider == "p1"
    settled(one)
    with pytest.raises(Deferred, match="requests_per_minute"):
        one.call()
    assert simulators[0].counts.arrived == 1


def test_an_exhausted_account_does_not_end_a_request_that_the_other_provider_failed_at_by_chance(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script(**always("budget"))
    simulators[1].script("503", "503")
    one = route()
    for _ in range(2):  # once asked first, and then last
        with pytest.raises(ProviderError, match="p1: http_503"):
            one.call()
    assert simulators[0].counts.arrived == 2


def test_what_every_provider_finds_too_long_is_told_as_that(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script("503")
    simulators[1].script("context_too_long")
    one = route(providers=({"max_context": 8000}, {"max_context": 128_000}))
    with pytest.raises(ProviderError, match="p1: context_too_long"):
        one.call()
