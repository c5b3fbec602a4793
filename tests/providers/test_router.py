"""The router: which provider a call goes to, what happens where that one fails, and when nobody can take it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.errors import AttemptInterrupted, Deferred, ProviderError
from pipeline.providers.contract import Anew
from pipeline.providers.gate.script import slots_key
from pipeline.providers.simulator import Fault, Simulator
from pipeline.providers.simulator.behaviour import Fixed
from tests.providers.conftest import Route
from tests.providers.routed import always, settled
from tests.servers import eventually


def test_the_first_serves_and_the_choice_is_explained(route: Route, simulators: list[Simulator]) -> None:
    one = route()
    assert one.call().reply.provider == "p0"
    assert [(call.provider, call.choice) for call in one.calls] == [("p0", "by order")]
    assert simulators[1].counts.arrived == 0


@pytest.mark.parametrize("kind", ["503", "429", "reset", "malformed", "cut", "budget"])
def test_a_call_that_fails_is_tried_with_the_next_provider(
    route: Route, simulators: list[Simulator], kind: str
) -> None:
    simulators[0].script(kind)
    one = route()
    assert one.call().reply.provider == "p1"
    failed, served = one.calls
    assert failed.reason is not None
    assert served.choice == f"by order; p0 failed: {failed.reason}"


def test_the_callers_own_mistake_is_not_tried_elsewhere_and_not_held_against_the_provider(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script(**always("400"))
    one = route()
    for _ in range(12):
        with pytest.raises(ProviderError, match="http_4xx"):
            one.call()
    settled(one)
    assert one.facts()[0].state == "closed"
    assert simulators[1].counts.arrived == 0


def test_a_text_that_broke_off_begins_anew_with_the_next_provider(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script("cut", tokens_per_second=500)
    one = route()
    reply = one.call().reply
    [anew] = [index for index, text in enumerate(one.texts) if isinstance(text, Anew)]
    assert anew > 0, "something of the first one was shown"
    assert "".join(one.texts[anew:]) == reply.text
    assert "".join(one.texts[:anew])


def test_no_further_provider_is_asked_once_the_attempt_is_over(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script("hang")
    one = route()
    with pytest.raises(ProviderError, match="timeout"):
        one.call(seconds=0.5)
    assert simulators[1].counts.arrived == 0


def test_after_the_tenth_failure_no_call_starts_and_the_others_take_over(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script(**always("503"))
    one = route()
    for _ in range(30):
        assert one.call().reply.provider == "p1"
    assert simulators[0].counts.arrived == 10
    assert one.calls[-1].choice == "by order; p0: breaker_open"
    facts = one.facts()[0]
    assert (facts.state, facts.level, facts.why) == ("open", 2, "http_503")
    assert facts.since is not None
    assert facts.next_trial is not None
    assert (facts.next_trial - facts.since).total_seconds() == pytest.approx(30, abs=0.01)


def test_a_breaker_is_shared_by_all_routers(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(**always("503"))
    several = [route() for _ in range(3)]
    for number in range(10):
        several[number % 3].call()
        settled(several[number % 3])
    for one in several:
        assert one.call().reply.provider == "p1"
    assert simulators[0].counts.arrived == 10


def test_what_no_provider_can_take_is_deferred_to_the_earliest_time(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(**always("503"))
    simulators[1].script(Fault(kind="429", retry_after=5))
    one = route()
    with pytest.raises(ProviderError, match="p1: http_429"):
        one.call()
    for _ in range(9):
        with pytest.raises(ProviderError, match="p0: http_503"):
            one.call()
    with pytest.raises(Deferred) as deferred:
        one.call()
    assert deferred.value.reason == "retry_after"
    assert 3 < deferred.value.seconds <= 5
    assert len(one.calls) == 11, "it was asked of nobody"


def test_a_wait_of_a_moment_is_waited_where_it_is(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(Fault(kind="429", retry_after=0.2))
    one = route(1)
    with pytest.raises(ProviderError):
        one.call()
    began = time.monotonic()
    assert one.call().reply.text
    assert time.monotonic() - began >= 0.1


def test_as_many_calls_at_once_as_the_limit_says_and_the_rest_elsewhere(
    route: Route, simulators: list[Simulator]
) -> None:
    for simulator in simulators:
        simulator.script(latency=Fixed(seconds=0.5))
    one = route(providers=[{"max_concurrency": 2}])
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: one.call().reply.provider, range(6)))
    assert sorted(replies) == ["p0", "p0", "p1", "p1", "p1", "p1"]
    assert simulators[0].counts.most_in_flight == 2
    settled(one)
    assert one.facts()[0].under_way == 0


def test_a_few_wait_in_place_for_a_slot_that_is_free_in_a_moment(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(latency=Fixed(seconds=0.3))
    one = route(1, providers=[{"max_concurrency": 2}], worker_slots=16)
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: one.call().reply.provider, range(6)))
    assert replies == ["p0"] * 6
    assert simulators[0].counts.most_in_flight == 2


def test_who_finds_no_seat_to_wait_for_a_slot_or_waits_in_vain_is_deferred(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script("hang", "hang")
    one = route(1, providers=[{"max_concurrency": 2}], worker_slots=8)
    waits: list[float] = []

    def wait() -> None:
        began = time.monotonic()
        with pytest.raises(Deferred, match="concurrency"):
            one.call()
        waits.append(time.monotonic() - began)

    def hang() -> None:
        with pytest.raises((AttemptInterrupted, ProviderError)):
            one.call(seconds=4)

    hanging = [threading.Thread(target=hang) for _ in range(2)]
    for thread in hanging:
        thread.start()
    eventually(lambda: simulators[0].counts.in_flight == 2, what="no slot is left")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: wait(), range(6)))
    for thread in hanging:
        thread.join(10)
    assert sum(one >= 0.9 for one in waits) == 2, "a quarter of the worker's slots at most waits"


def test_by_latency_a_provider_that_never_answers_is_not_preferred(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(**always("503"))
    simulators[1].script(latency=Fixed(seconds=0.02))
    one = route(routing="latency", breaker_min_calls=1000)
    for _ in range(30):
        assert one.call().reply.provider == "p1"
    assert simulators[0].counts.arrived <= 2


def test_a_provider_that_says_that_the_quota_is_used_up_is_not_asked_again_for_a_while(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script(**always("budget"))
    one = route()
    for _ in range(10):
        assert one.call().reply.provider == "p1"
    assert simulators[0].counts.arrived == 1
    assert one.calls[-1].choice == "by order; p0: budget"


def test_a_slot_ends_by_itself_soon_after_the_time_out_of_its_call(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(latency=Fixed(seconds=1))
    one = route(1, providers=[{"max_concurrency": 2}], provider_timeout=5)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(one.call, attempt=2)
        key = slots_key(one.settings.providers[0])
        taken: Any = eventually(lambda: one.client.zrange(key, 0, -1, withscores=True), what="it is taken")
        assert 5 < taken[0][1] - time.time() < 12
        call.result(20)


def test_a_spent_budget_is_routed_around_and_where_nobody_has_any_left_refused(route: Route) -> None:
    one = route(providers=[{"daily_budget": 1.5, "output_price": 1.0}, {"daily_budget": 2.0, "output_price": 1.0}])
    one.spent["p0"] = 1.5
    assert one.call().reply.provider == "p1"
    assert one.calls[-1].choice == "by order; p0: budget"
    one.spent["p1"] = 3.0
    eventually(lambda: one.router._budgets.is_spent("p1"), what="the sum is looked up again")
    with pytest.raises(ProviderError) as refused:
        one.call()
    assert refused.value.reason == "budget"
    assert str(refused.value) == "p0: budget (the day's budget is spent)"


def test_an_interrupted_call_gives_its_slot_back_and_says_nothing_of_the_provider(
    route: Route, simulators: list[Simulator]
) -> None:
    simulators[0].script("hang")
    one = route(1, providers=[{"max_concurrency": 1}])
    caught: list[BaseException] = []

    def interrupted() -> None:
        try:
            one.call(seconds=0.4)
        except (AttemptInterrupted, ProviderError) as stopped:
            caught.append(stopped)

    caller = threading.Thread(target=interrupted)
    caller.start()
    caller.join(10)
    assert caught
    assert one.call().reply.text
    settled(one)
    assert one.facts()[0].since is None


def test_three_trials_that_go_well_close_a_breaker(route: Route, simulators: list[Simulator]) -> None:
    simulators[0].script(*["503"] * 10)
    one = route(breaker_open_seconds=0.5, breaker_ramp_seconds=0.2)
    for _ in range(10):
        one.call()
    settled(one)
    assert one.facts()[0].state == "open"
    eventually(lambda: one.call().reply.provider == "p0", what="its first trial")
    for _ in range(2):
        assert one.call().reply.provider == "p0"
    settled(one)
    assert one.facts()[0].state == "closed"
