"""Budgets of money a UTC day. What is spent is summed in Postgres; a process looks there now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from pipeline.settings import ProviderSettings

#: Seconds for which a sum is believed. What is spent meanwhile, and by calls under way, may go over a budget.
BELIEVED = 1.0


class Budgets:
    """`read` gives the money spent today, by provider; None when Postgres does not say, and the last sum then holds."""

    def __init__(
        self,
        providers: Sequence[ProviderSettings],
        read: Callable[[], Mapping[str, float] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budgets = {one.name: one.daily_budget for one in providers if one.daily_budget is not None}
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._spent: Mapping[str, float] = {}
        self._read_at = float("-inf")

    def is_spent(self, provider: str) -> bool:
        """Whether nothing is left of this provider's budget today."""
        budget = self._budgets.get(provider)
        return budget is not None and self._today().get(provider, 0.0) >= budget

    def _today(self) -> Mapping[str, float]:
        with self._lock:
            if self._clock() >= self._read_at + BELIEVED:
                found = self._read()
                self._spent = self._spent if found is None else found
                self._read_at = self._clock()
            return self._spent
