"""Which provider is asked first, and which may help where one failed."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.errors import ProviderError
from pipeline.providers.measured import FAILING, Measured
from pipeline.providers.routing import Candidate, Policy, helpful, ordered
from pipeline.schemas import Call
from pipeline.settings import ProviderSettings


def candidate(
    place: int,
    *,
    latency: float | None = None,
    tokens: tuple[int, int] = (1, 1),
    failing: float = 0.0,
    exhausted: bool = False,
    **facts: Any,
) -> Candidate:
    settings = ProviderSettings(name=f"p{place}", base_url="http://127.0.0.1:1/v1", model="m", **facts)
    return Candidate(place, settings, latency, tokens, failing, exhausted)


def places(candidates: list[Candidate]) -> list[int]:
    return [one.place for one in candidates]


def firsts(candidates: list[Candidate], policy: Policy, times: int = 2000) -> Counter[int]:
    dice = random.Random(1)
    return Counter(ordered(candidates, policy, None, dice.random)[0].place for _ in range(times))


def test_by_order_is_the_order_of_the_settings() -> None:
    assert places(ordered([candidate(n) for n in range(3)], "order", None, random.random)) == [0, 1, 2]


def test_by_weight_gives_each_its_share() -> None:
    found = firsts([candidate(0, weight=1), candidate(1, weight=3)], "weight")
    assert found[1] / found.total() == pytest.approx(0.75, abs=0.03)


def test_by_latency_is_the_faster_of_two_that_chance_picks() -> None:
    found = firsts([candidate(0, latency=0.3), candidate(1, latency=0.1), candidate(2, latency=0.9)], "latency")
    assert found[1] / found.total() == pytest.approx(2 / 3, abs=0.03)
    assert found[0] / found.total() == pytest.approx(1 / 3, abs=0.03)
    assert found[2] == 0


def test_by_latency_one_that_nobody_knows_is_tried() -> None:
    assert firsts([candidate(0, latency=0.001), candidate(1)], "latency")[1] == 2000


def test_by_latency_one_whose_calls_fail_is_no_fast_one() -> None:
    assert firsts([candidate(0, latency=9.0), candidate(1, failing=0.2)], "latency")[0] == 2000
    assert firsts([candidate(0, latency=1.0), candidate(1, latency=0.6, failing=0.5)], "latency")[0] == 2000


def test_one_whose_quota_is_used_up_goes_last_whatever_its_region() -> None:
    given = [candidate(0, region="eu", exhausted=True), candidate(1), candidate(2, region="eu")]
    for policy in ("order", "weight", "latency", "cost"):
        assert places(ordered(given, policy, "eu", random.random)) == [2, 1, 0]


def test_a_failure_is_forgotten_after_a_while_and_a_success_proves_that_there_is_quota() -> None:
    now = 100.0
    measured = Measured(clock=lambda: now)
    measured.fail("budget")
    assert measured.failing == pytest.approx(0.2)
    assert measured.exhausted
    at = datetime.now(UTC)
    measured.learn(Call("p", "m", at, at, at))
    assert measured.failing == pytest.approx(0.16)
    assert not measured.exhausted
    measured.fail("timeout")
    now += FAILING
    assert measured.failing == 0


def test_by_cost_is_the_cheapest_for_this_call() -> None:
    dear_input: dict[str, Any] = {"input_price": 10.0, "output_price": 1.0}
    dear_output: dict[str, Any] = {"input_price": 1.0, "output_price": 10.0}
    for tokens, first in (((1000, 10), 1), ((10, 1000), 0)):
        both = [candidate(0, tokens=tokens, **dear_input), candidate(1, tokens=tokens, **dear_output)]
        assert places(ordered(both, "cost", None, random.random))[0] == first


def test_those_of_the_own_region_go_before_all_others() -> None:
    given = [candidate(0, region="us"), candidate(1), candidate(2, region="eu"), candidate(3, region="eu")]
    assert places(ordered(given, "order", "eu", random.random)) == [2, 3, 0, 1]


@pytest.mark.parametrize(
    ("reason", "status", "helps"),
    [
        ("timeout", None, True), ("connection_error", None, True), ("http_503", 503, True), ("http_500", 500, True),
        ("http_429", 429, True), ("rate_limit", 403, True), ("bad_response", 200, True), ("budget", 402, True),
        ("http_4xx", 400, False), ("http_4xx", 401, False), ("context_too_long", 400, False),
    ],
)  # fmt: skip
def test_another_provider_is_tried_where_that_can_help(reason: str, status: int | None, *, helps: bool) -> None:
    error = ProviderError(reason, provider="p0", status_code=status)
    assert places(helpful(error, candidate(0), [candidate(1)])) == ([1] if helps else [])


def test_a_context_that_is_too_long_goes_to_a_longer_model_only() -> None:
    error = ProviderError("context_too_long", provider="p0", status_code=400)
    rest = [candidate(1, max_context=8000), candidate(2), candidate(3, max_context=128_000)]
    assert places(helpful(error, candidate(0, max_context=8000), rest)) == [3]
    assert helpful(error, candidate(0), rest) == [], "how long would be long enough?"
