"""What a call that is over says of its provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import ProviderError
from pipeline.providers.verdict import Granted, verdict_of
from pipeline.schemas import Call

GRANTED = Granted(whole=60.0, first_token=30.0)


def timed_out(seconds: float, *, first_token: float | None = None) -> Call:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    said = None if first_token is None else began + timedelta(seconds=first_token)
    return Call(
        provider="p",
        model="m",
        started_at=began,
        first_token_at=said,
        finished_at=began + timedelta(seconds=seconds),
        reason="timeout",
    )


@pytest.mark.parametrize(
    ("call", "failure"),
    [
        (timed_out(1.0), None),
        (timed_out(12.0), None),
        (timed_out(29.0), None),
        (timed_out(45.0, first_token=2.0), None),
        (timed_out(30.0), "timeout"),
        (timed_out(29.99), "timeout"),
        (timed_out(60.0, first_token=2.0), "timeout"),
    ],
)
def test_a_call_that_its_own_request_cut_off_before_the_providers_time_was_up_is_nobodys_fault(
    call: Call, failure: str | None
) -> None:
    verdict = verdict_of(call, ProviderError("timeout", provider="p"), GRANTED, interrupted=True)
    assert (verdict.failure, verdict.void) == (failure, failure is None)


def test_a_time_out_of_the_providers_own_counts_while_the_attempt_goes_on() -> None:
    verdict = verdict_of(timed_out(10.0), ProviderError("timeout", provider="p"), GRANTED, interrupted=False)
    assert verdict.failure == "timeout"
