"""What a provider's limits leave room for. Pure: the clock and the limits are given.

A call is counted when it is admitted, by estimate, and set right when it is over, by usage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pipeline.providers.breaker_state import AGAIN, Refusal
from pipeline.settings import ProviderSettings

#: Seconds that rates are given for, and looked back on.
MINUTE = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one provider; None where there is none."""

    concurrency: int | None = None
    requests: int | None = None
    tokens: int | None = None

    @classmethod
    def of(cls, provider: ProviderSettings) -> Limits:
        return cls(provider.max_concurrency, provider.requests_per_minute, provider.tokens_per_minute)

    def shared_by(self, workers: int) -> Limits:
        """One worker's share; one call at least, or some workers would never make any."""
        return Limits(*(limit and max(1, limit // max(1, workers)) for limit in self.as_row()))

    def as_row(self) -> tuple[int | None, int | None, int | None]:
        return self.concurrency, self.requests, self.tokens


@dataclass(slots=True)
class Spent:
    """What of one provider's limits is used up."""

    #: A provider that asked us to stay away is closed until then.
    closed_until: float = 0.0
    #: [second, requests, tokens], oldest first.
    seconds: list[list[int]] = field(default_factory=list)
    #: Calls under way, and when each is given up.
    slots: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Spent:
        """As the broker keeps it, but for the slots."""
        return cls(document["closed_until"], [list(one) for one in document.get("seconds") or []])

    def refusal(self, limits: Limits, now: float, tokens: int) -> Refusal | None:
        """Why a call of so many tokens may not start; None where it may.

        A call over the whole minute's limit goes alone: refused for ever, it would never be answered.
        """
        if self.closed_until > now:
            return Refusal("retry_after", self.closed_until - now)
        self.slots = {id_: until for id_, until in self.slots.items() if until > now}
        if limits.concurrency is not None and len(self.slots) >= limits.concurrency:
            return Refusal("concurrency", AGAIN)
        self._forget(now)
        if limits.requests is not None and (wait := self._wait(1, 1, limits.requests, now)):
            return Refusal("requests_per_minute", wait)
        if limits.tokens is not None and (wait := self._wait(2, tokens, limits.tokens, now)):
            return Refusal("tokens_per_minute", wait)
        return None

    def reserve(self, limits: Limits, now: float, ticket: str, tokens: int, seconds: float) -> int:
        """Count a call that takes `seconds` at most. Returns the second that it is counted in."""
        second = math.floor(now)
        if limits.concurrency is not None:
            self.slots[ticket] = now + seconds
        if limits.requests is not None or limits.tokens is not None:
            if not self.seconds or self.seconds[-1][0] != second:
                self._forget(now)
                self.seconds.append([second, 0, 0])
            self.seconds[-1][1] += 1
            self.seconds[-1][2] += tokens
        return second

    def settle(self, now: float, ticket: str, second: int, more: int, closed_for: float | None) -> None:
        """A call is over: it took `more` tokens than reserved, and its provider asks to be left alone for a while."""
        self.slots.pop(ticket, None)
        for one in self.seconds:
            if one[0] == second:
                one[2] = max(0, one[2] + more)
        if closed_for is not None:
            self.closed_until = max(self.closed_until, now + closed_for)

    def _forget(self, now: float) -> None:
        """Let go of what is more than a minute old, and of what lies ahead since the clock was set back. Reserving does
        it as well: nobody may ever ask, as with a gate that only looks on."""
        self.seconds = [one for one in self.seconds if now - MINUTE - 1 < one[0] <= now]

    def _wait(self, column: int, amount: int, limit: int, now: float) -> float:
        """Seconds until there is room for `amount`; 0 where there is now."""
        over = sum(one[column] for one in self.seconds) + min(amount, limit) - limit
        if over <= 0:
            return 0.0
        for one in self.seconds:
            over -= one[column]
            if over <= 0:
                return one[0] + 1 + MINUTE - now
        return 0.0
