"""What becomes of a failed attempt: facts in, one decision out. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from celery.utils.time import get_exponential_backoff_interval

from pipeline.errors import ProviderError
from pipeline.settings import Settings

#: Reasons that are retried whatever the status code was.
ALWAYS_RETRIED = frozenset({"timeout", "connection_error", "rate_limit", "bad_response", "worker_lost"})

#: Why no provider could take a further call of an attempt that had made one.
DEFERRALS = frozenset(
    {
        *("breaker_open", "breaker_half_open", "breaker_ramp"),
        *("retry_after", "concurrency", "requests_per_minute", "tokens_per_minute"),
    }
)

#: Reasons of a provider that wants less traffic: the delay's factor and cap are so many times as much.
THROTTLED = frozenset({"http_429", "rate_limit"})
THROTTLED_TIMES = 2

#: Draws a whole number from 0 up to, not including, the one given.
Draw = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `retry_after` is what the provider asked for, in seconds."""

    reason: str
    status_code: int | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, error: ProviderError) -> Self:
        """Raises ValueError or TypeError for a `retry_after` that is no number: agents raise these errors, too."""
        asked = error.retry_after
        return cls(error.reason, error.status_code, None if asked is None else float(asked))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait, in whole seconds, and which status codes are worth another attempt."""

    initial_delay: int = 1
    max_delay: int = 30
    jitter: bool = True
    status_codes: frozenset[int] = frozenset({429, 500, 502, 503, 504})

    @property
    def longest(self) -> int:
        """Seconds: the cap of what is not asked for by a provider itself."""
        return THROTTLED_TIMES * self.max_delay

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            initial_delay=settings.retry_initial_delay,
            max_delay=settings.retry_max_delay,
            jitter=settings.retry_jitter,
            status_codes=settings.retry_status_codes,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """Another attempt `delay` seconds from now, or, when `retry` is false, the end for this reason."""

    retry: bool
    reason: str
    delay: float = 0


def decide(
    failure: Failure,
    policy: RetryPolicy,
    *,
    attempt: int,
    max_attempts: int,
    seconds_left: float,
    draw: Draw = random.randrange,
) -> Decision:
    """Whether attempt number `attempt` (from 1) is followed by another, and when.

    A delay that reaches the deadline, `seconds_left` from now, makes the failure final at once: the wait would be
    for nothing.
    """
    if attempt >= max_attempts or not _is_retried(failure, policy):
        return Decision(retry=False, reason=failure.reason)
    delay = max(_backoff(failure.reason, policy, attempt, draw), failure.retry_after or 0)
    if delay >= seconds_left:
        return Decision(retry=False, reason=failure.reason)
    return Decision(retry=True, reason=failure.reason, delay=delay)


def _is_retried(failure: Failure, policy: RetryPolicy) -> bool:
    if failure.reason in ALWAYS_RETRIED | DEFERRALS:
        return True
    return failure.reason.startswith("http_") and failure.status_code in policy.status_codes


def _backoff(reason: str, policy: RetryPolicy, attempt: int, draw: Draw) -> int:
    if reason == "worker_lost":
        return 0
    times = THROTTLED_TIMES if reason in THROTTLED else 1
    # The jitter is drawn here, as Celery draws it, because its helper takes no source of randomness.
    full: int = get_exponential_backoff_interval(
        policy.initial_delay * times, attempt - 1, policy.max_delay * times, full_jitter=False
    )
    return draw(full + 1) if policy.jitter else full
