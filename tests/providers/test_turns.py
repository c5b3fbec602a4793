"""Those who are put off come back one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.providers.routing import Candidate
from pipeline.providers.turns import EARLY, LONGEST, Turns
from pipeline.settings import ProviderSettings


def candidate(place: int = 0, **facts: Any) -> Candidate:
    settings = ProviderSettings(name=f"p{place}", base_url="http://127.0.0.1:1/v1", model="m", **facts)
    return Candidate(place, settings, latency=2.0, tokens=(60, 40))


@pytest.mark.parametrize(
    ("why", "facts", "apart"),
    [
        ("concurrency", {"max_concurrency": 10}, 0.2 * EARLY),
        ("requests_per_minute", {"requests_per_minute": 120}, 0.5),
        ("tokens_per_minute", {"tokens_per_minute": 1000}, 6.0),
        ("breaker_open", {}, 0.02),
        ("retry_after", {"max_concurrency": 10}, 0.02),
    ],
)
def test_they_are_as_far_apart_as_calls_that_can_be_taken(why: str, facts: dict[str, int], apart: float) -> None:
    turns = Turns(clock=lambda: 100.0)
    first, *others = [turns.next(candidate(**facts), why, 5.0) for _ in range(3)]
    assert first == (2.0 if why == "concurrency" else 5.0), "a slot may be free when a call that runs now is over"
    assert others == pytest.approx([first + apart, first + 2 * apart])


def test_whoever_waits_longer_than_the_line_is_not_kept_by_it_and_providers_have_lines_of_their_own() -> None:
    turns = Turns(clock=lambda: 100.0)
    turns.next(candidate(0), "breaker_open", 5.0)
    assert turns.next(candidate(0), "breaker_open", 9.0) == 9.0
    assert turns.next(candidate(1), "breaker_open", 5.0) == 5.0


def test_nobody_is_put_off_by_others_for_longer_than_half_a_minute() -> None:
    turns = Turns(clock=lambda: 100.0)
    slow = candidate(requests_per_minute=1)
    assert [turns.next(slow, "requests_per_minute", 5.0) for _ in range(3)][1:] == [5.0 + LONGEST] * 2


def test_who_waits_for_a_slot_is_not_kept_by_those_who_wait_for_a_retry_after() -> None:
    turns = Turns(clock=lambda: 100.0)
    turns.next(candidate(max_concurrency=4), "retry_after", 600.0)
    assert turns.next(candidate(max_concurrency=4), "concurrency", 1.0) == 1.0


def test_who_comes_back_little_by_little_is_not_kept_by_who_drew_a_longer_wait() -> None:
    turns = Turns(clock=lambda: 100.0)
    waits = [9.0, 2.0, 5.0, 5.0]
    assert [turns.next(candidate(), "breaker_ramp", wait) for wait in waits] == waits
