"""What operators are shown of the gate, whatever the broker holds."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import Deferred, ProviderError
from pipeline.providers.gate.script import limits_key
from pipeline.providers.simulator import Fault, Simulator
from tests.providers.conftest import Route
from tests.providers.routed import settled


def test_an_absurd_retry_after_closes_a_provider_for_a_day_at_most(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(Fault(kind="429", retry_after=1_796_000_000_000))
    one = route(1)
    with pytest.raises(ProviderError, match="http_429"):
        one.call()
    settled(one)
    assert one.facts()[0].closed_until is not None
    with pytest.raises(Deferred, match="retry_after") as deferred:
        one.call()
    assert 86_000 < deferred.value.seconds <= 86_400


@pytest.mark.parametrize("until", [1e13, 9e15, 1e300])
def test_a_moment_that_no_calendar_has_is_shown_as_the_last_one(route: Route, until: float) -> None:
    one = route(1)
    one.client.set(limits_key(one.settings.providers[0]), json.dumps({"closed_until": until, "seconds": []}))
    closed_until = one.facts()[0].closed_until
    assert closed_until is not None
    assert closed_until.astimezone().year == 9999
