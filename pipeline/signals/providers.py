"""Told of calls of providers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pipeline import metrics
from pipeline.schemas import Call


def provider_called(call: Call) -> None:
    """A call of a provider has ended. One that was interrupted says nothing of the provider."""
    if call.reason == "interrupted":
        return
    provider = call.provider
    metrics.PROVIDER_REQUESTS.labels(provider, "failure" if call.reason else "success").inc()
    metrics.PROVIDER_LATENCY.labels(provider).observe(_seconds(call.started_at, call.finished_at))
    if call.first_token_at is not None:
        metrics.FIRST_TOKEN.labels(provider).observe(_seconds(call.started_at, call.first_token_at))
    if call.reason:
        metrics.PROVIDER_ERRORS.labels(provider, call.reason).inc()


def provider_paid(calls: Iterable[Call], *, used: bool) -> None:
    """An attempt, or a summary, has spent this; `used` says whether it came to its answer."""
    for call in calls:
        label = "true" if used and not call.reason else "false"
        for direction, tokens in (("input", call.usage.input_tokens), ("output", call.usage.output_tokens)):
            if tokens:
                metrics.TOKENS.labels(call.provider, direction, label).inc(tokens)
        if call.cost:
            metrics.COST.labels(call.provider, label).inc(call.cost)


def breaker_opened(provider: str) -> None:
    """A provider's breaker, or that of one of its models, has opened."""
    metrics.BREAKER_TRIPS.labels(provider).inc()


def breaker_went_local() -> None:
    """The broker is away: a call was decided on by this worker's own breakers and limits."""
    metrics.LOCAL_BREAKER.inc()


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())  # a wall clock may be set back
