"""A worker's router, with what it takes from the ledger: the money spent today, and how many share the limits."""

from __future__ import annotations

import threading
import time

import structlog

from pipeline import broker, signals
from pipeline.providers.budget import Budgets
from pipeline.providers.gate.gate import Gate
from pipeline.providers.registry import Providers
from pipeline.providers.router import Router
from pipeline.settings import Settings
from pipeline.store import spending
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.store.ledger import workers

log = structlog.get_logger(__name__)

#: Seconds that a call may wait for the broker's word: its own breaker serves as well for a while.
GATE_TIMEOUT = 0.5

#: Seconds for which the number of living workers is believed.
BELIEVED = 3.0


def routed(providers: Providers, settings: Settings, database: Database) -> Router | None:
    """The router over all configured providers; None where there is none."""
    if not providers.names:
        return None
    client = broker.connect(settings.broker, min(GATE_TIMEOUT, settings.broker_timeout))
    configured = settings.configured_providers
    gate = Gate(configured, settings, client, living=Living(database))
    budgets = Budgets(configured, lambda: _spent(database))
    return Router(providers.all(), settings, gate, budgets)


class Living:
    """How many workers live, by their leases; looked up while the broker is away, and not each time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._count = 1
        self._until = float("-inf")

    def __call__(self) -> int:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._count = max(1, workers.count_living(self._database))
                except UNAVAILABLE as fault:
                    signals.ledger_failed("living")
                    log.warning("living_unknown", error=type(fault).__name__)
                self._until = time.monotonic() + BELIEVED
            return self._count


def _spent(database: Database) -> dict[str, float] | None:
    try:
        return spending.today(database)
    except UNAVAILABLE as fault:
        signals.ledger_failed("spending")
        log.warning("spending_unknown", error=type(fault).__name__)
        return None
