"""What limits leave room for."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pipeline.providers.breaker_state import Refusal
from pipeline.providers.limits import Limits, Spent

NOW = 1_764_000_000.0


def test_as_many_calls_at_once_as_the_limit_says() -> None:
    limits, spent = Limits(concurrency=2), Spent()
    for id_ in "ab":
        assert spent.refusal(limits, NOW, 1) is None
        spent.reserve(limits, NOW, id_, 1, 60)
    assert spent.refusal(limits, NOW, 1) == Refusal("concurrency", 1.0)
    spent.settle(NOW, "a", int(NOW), 0, None)
    assert spent.refusal(limits, NOW, 1) is None


def test_the_slot_of_a_worker_that_died_is_free_when_its_calls_time_is_over() -> None:
    limits, spent = Limits(concurrency=1), Spent()
    spent.reserve(limits, NOW, "a", 1, 20)
    assert spent.refusal(limits, NOW + 19, 1) is not None
    assert spent.refusal(limits, NOW + 20, 1) is None


def test_a_spent_rate_is_waited_out_to_the_second_in_which_enough_becomes_free() -> None:
    limits, spent = Limits(tokens=100), Spent()
    for second, tokens in ((0, 40), (10, 50)):
        spent.reserve(limits, NOW + second, "a", tokens, 60)
    assert spent.refusal(limits, NOW + 20, 10) is None
    assert spent.refusal(limits, NOW + 20, 50) == Refusal("tokens_per_minute", 41.0)
    assert spent.refusal(limits, NOW + 20, 60) == Refusal("tokens_per_minute", 51.0)


def test_a_reservation_is_set_right_by_what_was_used() -> None:
    limits, spent = Limits(tokens=100), Spent()
    second = spent.reserve(limits, NOW, "a", 90, 60)
    spent.settle(NOW + 1, "a", second, -60, None)
    assert spent.refusal(limits, NOW + 1, 70) is None
    assert spent.refusal(limits, NOW + 1, 71) is not None


def test_no_more_than_a_minute_is_kept_of_calls_that_nobody_asked_for() -> None:
    limits, spent = Limits(requests=5), Spent()
    for second in range(1000):
        spent.reserve(limits, NOW + second, "a", 1, 60)
    assert len(spent.seconds) <= 61


def test_a_call_over_the_whole_minutes_limit_goes_alone() -> None:
    limits, spent = Limits(tokens=100), Spent()
    assert spent.refusal(limits, NOW, 5000) is None
    spent.reserve(limits, NOW, "a", 1, 60)
    assert spent.refusal(limits, NOW, 5000) is not None


def test_a_provider_that_asks_to_be_left_alone_is_closed_for_so_long() -> None:
    spent = Spent()
    spent.settle(NOW, "a", 0, 0, 8.0)
    spent.settle(NOW, "b", 0, 0, 2.0)
    assert spent.refusal(Limits(), NOW + 1, 1) == Refusal("retry_after", 7.0)
    assert spent.refusal(Limits(), NOW + 8, 1) is None


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), max_size=80))
def test_no_minute_has_more_than_the_limits(calls: list[tuple[float, int]]) -> None:
    limits, spent, now = Limits(requests=5, tokens=100), Spent(), NOW
    made: list[tuple[float, int]] = []
    for pause, tokens in calls:
        now += pause
        refusal = spent.refusal(limits, now, tokens)
        if refusal is None:
            spent.reserve(limits, now, "a", tokens, 60)
            made.append((now, tokens))
        else:
            assert 0 < refusal.wait <= 61
            assert refusal.why in ("requests_per_minute", "tokens_per_minute")
    for start, _ in made:
        minute = [tokens for at, tokens in made if start <= at < start + 60]
        assert len(minute) <= 5
        assert math.fsum(minute) <= 100


def test_each_worker_has_its_share_and_one_call_at_least() -> None:
    assert Limits(10, None, 1000).shared_by(4) == Limits(2, None, 250)
    assert Limits(2, 5, None).shared_by(8) == Limits(1, 1, None)
    assert Limits(2, 5, None).shared_by(0) == Limits(2, 5, None)


def test_what_was_counted_before_the_clock_was_set_back_is_no_longer_in_the_way() -> None:
    spent, limits = Spent(), Limits(requests=1)
    spent.reserve(limits, NOW, "a", 0, 60.0)
    assert spent.refusal(limits, NOW, 0) is not None
    assert spent.refusal(limits, NOW - 3600, 0) is None
