"""In which order providers are asked. Pure: what is known of them, and chance, are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from pipeline.errors import ProviderError
from pipeline.settings import ProviderSettings

Policy = Literal["order", "weight", "latency", "cost"]

#: Draws a number from 0 up to, not including, 1.
Draw = Callable[[], float]

#: Reasons for which another provider may help: those of the provider's own making. `budget` is its customer's quota.
HELPED = frozenset({"timeout", "connection_error", "rate_limit", "bad_response", "http_429", "budget"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider that could take a call. `latency` is its moving average in seconds, None while unknown; `tokens` what
    the call may take there, in and out. `failing` is the share of its calls that failed lately; `exhausted`,
    that it has said that its customer's quota is used up."""

    place: int
    settings: ProviderSettings
    latency: float | None = None
    tokens: tuple[int, int] = (0, 0)
    failing: float = 0.0
    exhausted: bool = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def price(self) -> float:
        """What the call may cost, in millionths."""
        return self.tokens[0] * self.settings.input_price + self.tokens[1] * self.settings.output_price


def ordered(candidates: Sequence[Candidate], policy: Policy, region: str | None, draw: Draw) -> list[Candidate]:
    """The candidates, the one to be asked first at the head. Those of the region go before all others, but those whose
    quota is used up go last."""
    found = _BY[policy](list(candidates), draw)
    # stable: the policy orders within each part
    return sorted(found, key=lambda one: (one.exhausted, region is not None and one.settings.region != region))


def helpful(error: ProviderError, failed: Candidate, rest: Sequence[Candidate]) -> list[Candidate]:
    """Those of the rest that may do better after this failure; none, where it is the caller's own."""
    if error.reason == "context_too_long":
        shortest = failed.settings.max_context
        return [one for one in rest if shortest and one.settings.max_context and one.settings.max_context > shortest]
    if error.reason in HELPED or (error.status_code or 0) >= 500:
        return list(rest)
    return []


def _by_order(candidates: list[Candidate], _: Draw) -> list[Candidate]:
    return candidates


def _by_weight(candidates: list[Candidate], draw: Draw) -> list[Candidate]:
    """Drawn one after the other, each with its weight among those that are left."""
    return sorted(candidates, key=lambda one: draw() ** (1 / one.settings.weight), reverse=True)


def _by_latency(candidates: list[Candidate], draw: Draw) -> list[Candidate]:
    """The faster of two that chance picks, so that not all calls run to the one that was fastest a moment ago. One
    that nobody knows counts as the fastest: it is to be known, unless its calls fail."""
    left = list(candidates)
    picked = [left.pop(int(draw() * len(left))) for _ in range(min(2, len(left)))]
    return [*sorted(picked, key=_latency), *sorted(left, key=_latency)]


def _by_cost(candidates: list[Candidate], _: Draw) -> list[Candidate]:
    return sorted(candidates, key=lambda one: one.price)


def _latency(candidate: Candidate) -> float:
    """Seconds to an answer, with the calls that fail before it."""
    if candidate.latency is None:
        return inf if candidate.failing else 0.0
    return candidate.latency / max(1 - candidate.failing, 0.01)


_BY: dict[Policy, Callable[[list[Candidate], Draw], list[Candidate]]] = {
    "order": _by_order,
    "weight": _by_weight,
    "latency": _by_latency,
    "cost": _by_cost,
}
