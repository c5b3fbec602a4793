from __future__ import annotations

import random
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ProviderError
from pipeline.retry import Decision, Failure, RetryPolicy, decide
from pipeline.settings import Settings

STEADY = RetryPolicy(jitter=False)
STATUSES = [429, 500, 502, 503, 504]
FAILURES = [Failure(f"http_{code}", code) for code in STATUSES] + [
    Failure(reason) for reason in ("timeout", "connection_error", "rate_limit", "bad_response", "worker_lost")
]
FINAL = [
    Failure("http_4xx", 400),
    Failure("http_501", 501),
    Failure("context_too_long", 400),
    Failure("budget", 429),
    Failure("budget", 503),
    Failure("agent_error"),
]


def after(
    failure: Failure, policy: RetryPolicy = STEADY, attempt: int = 1, max_attempts: int = 99, seconds_left: float = inf
) -> Decision:
    return decide(failure, policy, attempt=attempt, max_attempts=max_attempts, seconds_left=seconds_left)


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_what_may_pass_is_retried(failure: Failure) -> None:
    assert after(failure).retry


@pytest.mark.parametrize("failure", FINAL, ids=str)
def test_what_will_not_pass_is_final(failure: Failure) -> None:
    assert after(failure) == Decision(retry=False, reason=failure.reason)


def test_the_delay_doubles_up_to_its_cap() -> None:
    delays = [after(Failure("timeout"), attempt=attempt).delay for attempt in range(1, 8)]
    assert delays == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("failure", [Failure("http_429", 429), Failure("rate_limit", 503)], ids=str)
def test_a_provider_that_wants_less_traffic_doubles_delay_and_cap(failure: Failure) -> None:
    delays = [after(failure, attempt=attempt).delay for attempt in range(1, 8)]
    assert delays == [2, 4, 8, 16, 32, 60, 60]


def test_a_lost_worker_s_request_runs_again_without_delay() -> None:
    assert after(Failure("worker_lost"), RetryPolicy(), attempt=5).delay == 0


def test_the_last_attempt_is_final() -> None:
    assert after(Failure("timeout"), attempt=2, max_attempts=3).retry
    assert not after(Failure("timeout"), attempt=3, max_attempts=3).retry
    assert not after(Failure("worker_lost"), attempt=3, max_attempts=3).retry


def test_retry_after_is_obeyed_beyond_the_cap() -> None:
    assert after(Failure("http_503", 503, retry_after=500.5)).delay == 500.5


def test_retry_after_does_not_shorten_a_delay() -> None:
    assert after(Failure("http_503", 503, retry_after=0.2), attempt=4).delay == 8


def test_a_retry_after_beyond_the_deadline_fails_the_request_at_once() -> None:
    failure = Failure("http_429", 429, retry_after=60)
    assert after(failure, seconds_left=61).retry
    assert after(failure, seconds_left=60) == Decision(retry=False, reason="http_429")


def test_no_retry_is_planned_past_the_deadline() -> None:
    assert not after(Failure("timeout"), attempt=4, seconds_left=8).retry
    assert not after(Failure("worker_lost"), seconds_left=0).retry


def test_the_settings_choose_the_status_codes_and_figures() -> None:
    settings = Settings(retry_status_codes=frozenset({503, 408}), retry_initial_delay=3, retry_max_delay=5)
    policy = RetryPolicy.from_settings(settings)
    assert after(Failure("http_500", 500), policy) == Decision(retry=False, reason="http_500")
    assert not after(Failure("http_429", 429), policy).retry
    assert after(Failure("http_503", 503), policy).retry
    assert after(Failure("http_4xx", 408), policy).retry
    assert (policy.initial_delay, policy.max_delay, policy.jitter) == (3, 5, True)


def test_the_facts_are_those_of_the_error() -> None:
    error = ProviderError("http_429", provider="some", status_code=429, retry_after=2.5)
    assert Failure.of(error) == Failure("http_429", 429, 2.5)


@given(
    failure=st.sampled_from(FAILURES),
    attempt=st.integers(1, 60),
    initial=st.integers(1, 100),
    cap=st.integers(1, 1000),
    asked=st.none() | st.floats(0, 5000),
    left=st.floats(0.1, 10_000),
    seed=st.integers(),
)
def test_no_delay_passes_its_cap_unless_the_provider_asks_nor_reaches_the_deadline(
    *, failure: Failure, attempt: int, initial: int, cap: int, asked: float | None, left: float, seed: int
) -> None:
    decision = decide(
        Failure(failure.reason, failure.status_code, asked),
        RetryPolicy(initial_delay=initial, max_delay=cap),
        attempt=attempt,
        max_attempts=100,
        seconds_left=left,
        draw=random.Random(seed).randrange,
    )
    if decision.retry:
        assert (asked or 0) <= decision.delay <= max(2 * cap, asked or 0)
        assert decision.delay < left
    else:
        assert decision.delay == 0
        assert max(asked or 0, 2 * cap, initial) >= left


@given(attempt=st.integers(1, 12), seed=st.integers())
def test_jitter_draws_from_nothing_up_to_the_full_delay(attempt: int, seed: int) -> None:
    asked: list[int] = []

    def draw(stop: int) -> int:
        asked.append(stop)
        return random.Random(seed).randrange(stop)

    full = after(Failure("timeout"), attempt=attempt).delay
    jittered = decide(Failure("timeout"), RetryPolicy(), attempt=attempt, max_attempts=99, seconds_left=inf, draw=draw)
    assert asked == [full + 1]
    assert 0 <= jittered.delay <= full
