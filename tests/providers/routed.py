"""A router over simulators and a broker of the test's own, and what came of calling it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from pipeline.broker import connect
from pipeline.providers.breaker import BreakerFacts, states
from pipeline.providers.budget import Budgets
from pipeline.providers.contract import CallRequest, Completion
from pipeline.providers.gate.gate import Gate
from pipeline.providers.registry import Providers
from pipeline.providers.router import Router
from pipeline.providers.simulator import Simulator
from pipeline.schemas import Call, Message
from pipeline.settings import Settings
from pipeline.worker.held import Control
from tests.servers import eventually


@dataclass
class Routed:
    """`spent` is what Postgres would say was spent today."""

    router: Router
    registry: Providers
    gate: Gate
    client: redis.Redis
    settings: Settings
    spent: dict[str, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def call(self, *, seconds: float = 30, **request: Any) -> Completion:
        return self.router.call(
            CallRequest(**{"messages": [Message("user", "What did I cite?")], **request}),
            on_text=self.texts.append,
            on_call=self.calls.append,
            control=Control(time.monotonic() + seconds),
        )

    def close(self) -> None:
        self.router.close()
        self.registry.close()
        self.client.close()

    def facts(self) -> list[BreakerFacts]:
        """What the broker holds."""
        return states(self.client, self.settings)


def routed(
    broker_url: str,
    simulators: Sequence[Simulator],
    *,
    living: Callable[[], int] = lambda: 1,
    providers: Sequence[Mapping[str, Any]] = (),
    broker_timeout: float = 5.0,
    **settings: Any,
) -> Routed:
    """Over `p0`, `p1` …; `providers` are further facts of each."""
    facts = [*providers, *({} for _ in simulators[len(providers) :])]
    configured = [
        {"name": f"p{place}", "base_url": one.url, "model": "m", **more}
        for place, (one, more) in enumerate(zip(simulators, facts, strict=True))
    ]
    given = Settings.model_validate({"providers": configured, **settings})
    registry = Providers(given)
    gate = Gate(given.providers, given, connect(broker_url, broker_timeout), living=living)
    spent: dict[str, float] = {}
    budgets = Budgets(given.providers, lambda: dict(spent))
    router = Router(registry.all(), given, gate, budgets)
    return Routed(router, registry, gate, connect(broker_url, 5), given, spent)


def always(kind: str) -> dict[str, object]:
    """How a simulator behaves whose every answer is this."""
    return {"rates": [{"kind": kind, "rate": 1}]}


def settled(one: Routed) -> None:
    """What was told has come through."""
    eventually(lambda: not one.gate._shared._waiting, what="nothing waits to be told")
    one.gate._shared._together(None)
