"""When a breaker opens, lets calls try, and closes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.providers.breaker_state import Breaker, Refusal, Rules
from pipeline.providers.gate.machine import Ask, Machine, Message, Offer, Reply
from pipeline.providers.limits import Limits
from pipeline.settings import Settings

RULES = Rules.from_settings(Settings())

#: Any moment.
NOW = 1_764_000_000.0


def tell(breaker: Breaker, now: float, *failures: str | None) -> None:
    """Calls that were let through one after the other, and went like this."""
    for number, failure in enumerate(failures):
        assert breaker.admit(RULES, now, 0.0, f"{now} {number}", 60) is None
        breaker.settle(RULES, now, f"{now} {number}", breaker.epoch, failure, second=int(now))


def opened(now: float = NOW) -> Breaker:
    breaker = Breaker()
    tell(breaker, now, *["http_503"] * 10)
    return breaker


def test_the_tenth_failure_of_a_dead_provider_opens_it() -> None:
    breaker = Breaker()
    tell(breaker, NOW, *["timeout"] * 9)
    assert breaker.state == "closed"
    tell(breaker, NOW, "http_503")
    assert (breaker.state, breaker.since, breaker.why) == ("open", NOW, "http_503")
    assert breaker.admit(RULES, NOW + 12, 0.0, "next", 60) == Refusal("breaker_open", 18.0)


@pytest.mark.parametrize("a_second", [1, 10, 50])
def test_a_busy_provider_that_dies_costs_no_more_calls_than_an_idle_one(a_second: int) -> None:
    breaker = Breaker()
    for number in range(60 * a_second):
        breaker.observe(RULES, NOW + number / a_second, int(NOW + number / a_second), None)
    assert [breaker.observe(RULES, NOW + 60, int(NOW + 60), "timeout") for _ in range(10)] == [False] * 9 + [True]


def test_a_call_that_goes_well_between_failures_begins_their_row_anew() -> None:
    breaker = Breaker()
    tell(breaker, NOW, *[None] * 100, *["timeout"] * 9, None, *["timeout"] * 9)
    assert breaker.state == "closed"


def test_calls_that_hung_while_later_ones_went_well_do_not_open_it() -> None:
    breaker = Breaker()
    began, over = int(NOW), NOW + 30
    for number in range(300):
        breaker.observe(RULES, NOW + number / 10, int(NOW + number / 10), None)
    assert not any(breaker.observe(RULES, over, began, "timeout") for _ in range(200)), "it came back long since"
    assert [breaker.observe(RULES, over, int(over), "timeout") for _ in range(10)] == [False] * 9 + [True]


def test_where_half_of_the_calls_hang_it_opens_however_well_the_others_go() -> None:
    breaker = Breaker()
    began, over = int(NOW), NOW + 30
    assert not any(breaker.observe(RULES, over, int(over), None) for _ in range(20))
    assert [breaker.observe(RULES, over, began, "timeout") for _ in range(20)] == [False] * 19 + [True]


def test_failures_in_a_row_that_lie_behind_the_window_do_not_count() -> None:
    breaker = Breaker()
    for minute in range(30):
        tell(breaker, NOW + 61 * minute, "timeout")
    assert breaker.state == "closed"


@given(st.lists(st.booleans(), max_size=60))
def test_it_opens_as_soon_as_half_of_ten_or_more_have_failed_or_the_last_ten(failures: list[bool]) -> None:
    breaker = Breaker()
    for count, failed in enumerate(failures, start=1):
        tell(breaker, NOW, "timeout" if failed else None)
        so_far = failures[:count]
        opens = failed and count >= 10 and (sum(so_far) >= count / 2 or all(so_far[-10:]))
        assert (breaker.state == "open") == opens
        if opens:
            break


def test_what_lies_behind_the_window_no_longer_counts() -> None:
    breaker = Breaker()
    tell(breaker, NOW, *["timeout"] * 9)
    tell(breaker, NOW + 61, "timeout")
    assert breaker.state == "closed"


def test_what_was_counted_under_a_shorter_window_does_not_count_for_ever_under_a_longer() -> None:
    shorter, breaker = replace(RULES, window=RULES.window / 2), Breaker()
    for _ in range(1000):
        breaker.observe(shorter, NOW, int(NOW), None)
    assert [breaker.observe(RULES, NOW + 1 + n, int(NOW + 1 + n), "timeout") for n in range(10)] == [False] * 9 + [True]


def test_a_call_that_says_nothing_of_the_provider_is_not_counted() -> None:
    breaker = Breaker()
    tell(breaker, NOW, *["timeout"] * 9)
    for number in range(20):
        breaker.forget(str(number), breaker.epoch)
    assert sum(ok + failed for _, ok, failed in breaker.window) == 9


def test_three_trials_are_let_through_and_no_more_until_they_are_over() -> None:
    breaker = opened()
    later = NOW + 30
    assert [breaker.admit(RULES, later, 0.5, id_, 60) for id_ in "abc"] == [None, None, None]
    assert breaker.state == "half_open"
    assert breaker.admit(RULES, later, 0.0, "d", 60) == Refusal("breaker_half_open", 1.0)
    breaker.settle(RULES, later, "a", breaker.epoch, None, second=int(later))
    assert breaker.admit(RULES, later, 0.0, "d", 60) is not None, "three trials in all, not three at a time"


def test_three_of_three_close_it_and_one_failure_opens_it_again() -> None:
    breaker = opened()
    later = NOW + 30
    tell(breaker, later, None, None, None)
    assert (breaker.state, breaker.ramping) == ("closed", True)
    breaker = opened()
    tell(breaker, later, None, None, "timeout")
    assert (breaker.state, breaker.since, breaker.why) == ("open", later, "timeout")


def test_a_trials_place_is_free_again_when_its_time_is_over_or_nothing_came_of_it() -> None:
    breaker = opened()
    later = NOW + 30
    for id_ in "abc":
        breaker.admit(RULES, later, 0.0, id_, 20)
    assert breaker.admit(RULES, later + 19, 0.0, "d", 20) == Refusal("breaker_half_open", 10.5), "they are slow"
    breaker.forget("a", breaker.epoch)
    assert breaker.admit(RULES, later + 19, 0.0, "d", 20) is None
    assert breaker.admit(RULES, later + 21, 0.0, "e", 20) is None
    assert breaker.settle(RULES, later + 22, "b", breaker.epoch, "timeout", second=int(later)) is False, "too late"


def test_after_it_has_closed_calls_come_back_from_a_tenth_to_all_in_ten_seconds() -> None:
    for seconds, share in ((0.0, 0.1), (5.0, 0.55), (9.9, 0.99)):
        breaker = opened()
        tell(breaker, NOW + 30, None, None, None)
        now = NOW + 30 + seconds
        assert breaker.admit(RULES, now, share - 0.01, "in", 60) is None
        refusal = breaker.admit(RULES, now, share + 0.009, "out", 60)
        assert refusal is not None
        assert (refusal.why, 1 <= refusal.wait <= 10) == ("breaker_ramp", True)
    assert breaker.admit(RULES, NOW + 40, 0.999, "in", 60) is None


def test_calls_of_an_earlier_state_no_longer_count() -> None:
    breaker = Breaker()
    old = breaker.epoch
    breaker.admit(RULES, NOW, 0.0, "slow", 60)
    tell(breaker, NOW, *["timeout"] * 10)
    tell(breaker, NOW + 30, None, None, None)
    assert breaker.settle(RULES, NOW + 31, "slow", old, "timeout", second=int(NOW)) is False
    assert breaker.window == []


def test_a_clock_that_is_set_back_makes_nobody_wait_until_it_has_come_so_far_again() -> None:
    machine, limits = Machine(1), (Limits(),)

    def ask(now: float, ticket: str, draw: float = 0.0) -> Reply:
        message = Message(RULES, limits, (Ask(ticket, draw, (Offer(0, 0, 60.0),)),))
        return machine.run(message, now).replies[0]

    machine.breakers[0] = opened()
    back = NOW - 3600
    [refusal] = ask(back, "a").refusals
    assert refusal == Refusal("breaker_open", RULES.open_seconds), "as if it had opened now"
    for ticket in "abc":
        assert ask(back + RULES.open_seconds, ticket).taken == 0
    [refusal] = ask(back - 3600, "d").refusals
    assert refusal == Refusal("breaker_half_open", 1.0), "no less than a second: who waits for less asks all the time"
    for ticket in "abc":
        machine.breakers[0].settle(RULES, back, ticket, machine.breakers[0].epoch, None, second=int(back))
    assert machine.breakers[0].state == "closed"
    assert ask(back - 7200 + RULES.ramp, "e", draw=0.05).taken == 0, "a tenth comes through from the beginning on"
    assert ask(back - 7200 + 2 * RULES.ramp, "f", draw=0.99).taken == 0
