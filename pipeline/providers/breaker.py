"""Breakers as operators see them: all states in one look, and a way to close one by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import redis

from pipeline.providers.breaker_state import CLOSED, HALF_OPEN, OPEN, Breaker, Rules
from pipeline.providers.gate.machine import Message
from pipeline.providers.gate.script import Script, breaker_key, limits_key, slots_key
from pipeline.providers.limits import MINUTE, Limits, Spent
from pipeline.settings import ProviderSettings, Settings

#: As the gauge `cite_agent_circuit_breaker_state` shows them.
LEVELS = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}

#: The last moment that can be shown in every zone, in seconds since the epoch.
LATEST = datetime(9999, 12, 30, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class BreakerFacts:
    """One provider's breaker, and what is used of its limits, by the broker's clock.

    `why` is the failure that opened it last; `next_trial` when trial calls may begin, None unless it is open.
    `closed_until` is what the provider itself has asked for. Rates are of the last minute.
    """

    provider: str
    model: str
    state: str
    since: datetime | None
    why: str | None
    next_trial: datetime | None
    closed_until: datetime | None
    under_way: int
    requests: int
    tokens: int

    @property
    def level(self) -> int:
        """0 closed, 1 half-open, 2 open."""
        return LEVELS[self.state]


def states(client: redis.Redis, settings: Settings) -> list[BreakerFacts]:
    """All configured providers, in one round trip. Raises one of broker.FAULTS.

    Calls under way are known of providers with a limit of concurrency, rates of those with a limit of either.
    """
    providers = settings.configured_providers
    if not providers:
        return []
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.mget([key for one in providers for key in (breaker_key(one), limits_key(one))])
        for one in providers:
            pipe.zcard(slots_key(one))
        (whole, micro), documents, *under_way = pipe.execute()
    now = whole + micro / 1e6
    found = zip(providers, documents[::2], documents[1::2], under_way, strict=True)
    return [
        _facts(one, _breaker(kept), settings.breaker_open_seconds, _spent(limits, now), slots)
        for one, kept, limits, slots in found
    ]


def reset(client: redis.Redis, settings: Settings, providers: Sequence[ProviderSettings]) -> None:
    """Close these providers' breakers, and forget what they asked for. Raises one of broker.FAULTS."""
    configured = settings.configured_providers
    limits = tuple(Limits.of(one) for one in configured)
    places = tuple(configured.index(one) for one in providers)
    Script(client, configured).run(Message(Rules.from_settings(settings), limits, resets=places))


def _breaker(document: bytes | None) -> Breaker:
    return Breaker.of(json.loads(document)) if document else Breaker()


def _spent(document: bytes | None, now: float) -> Spent:
    """What is still in force."""
    spent = Spent.of(json.loads(document)) if document else Spent()
    recent = [one for one in spent.seconds if one[0] + 1 + MINUTE > now]
    return Spent(spent.closed_until if spent.closed_until > now else 0.0, recent)


def _facts(
    provider: ProviderSettings, breaker: Breaker, open_seconds: float, spent: Spent, under_way: int
) -> BreakerFacts:
    return BreakerFacts(
        provider=provider.name,
        model=provider.model,
        state=breaker.state,
        since=_moment(breaker.since) if breaker.epoch else None,
        why=breaker.why,
        next_trial=_moment(breaker.since + open_seconds) if breaker.state == OPEN else None,
        closed_until=_moment(spent.closed_until) if spent.closed_until else None,
        under_way=under_way,
        requests=sum(one[1] for one in spent.seconds),
        tokens=sum(one[2] for one in spent.seconds),
    )


def _moment(seconds: float) -> datetime:
    """Whatever the broker holds: those who look on are shown something, and not an error."""
    return datetime.fromtimestamp(max(0.0, min(seconds, LATEST)), UTC)
