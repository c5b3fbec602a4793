"""How far a call has come, and the record that it leaves."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pipeline.providers.contract import CallControl
from pipeline.providers.watch import Watch
from pipeline.schemas import Call, Usage
from pipeline.settings import ProviderSettings, Settings

#: How much longer each further attempt's call may take.
GROWTH = 1.5

#: Prices are per so many tokens.
PRICED_TOKENS = 1_000_000


def seconds_for(settings: Settings, attempt: int) -> float:
    """A call's time-out, in seconds."""
    # A power too big for a float is well past the longest.
    return min(settings.provider_timeout * GROWTH ** min(attempt - 1, 100), settings.provider_timeout_max)


class Progress:
    """A call on its way. Until its first token the earlier of both limits holds, then that of the whole."""

    def __init__(
        self, provider: ProviderSettings, control: CallControl, *, seconds: float, first_token_seconds: float
    ) -> None:
        self._provider = provider
        self._started_at = datetime.now(UTC)
        self._first_token_at: datetime | None = None
        now = time.monotonic()
        self._limit = now + seconds
        self.watch = Watch(control, min(self._limit, now + first_token_seconds))
        self.status_code: int | None = None
        self.usage: Usage | None = None
        #: Stays, unless the call comes to an end of its own.
        self.reason: str | None = "interrupted"

    def token(self) -> None:
        """The model has said something."""
        if self._first_token_at is None:
            self._first_token_at = datetime.now(UTC)
            self.watch.limit = self._limit

    def record(self) -> Call:
        return Call(
            provider=self._provider.name,
            model=self._provider.model,
            started_at=self._started_at,
            first_token_at=self._first_token_at,
            finished_at=datetime.now(UTC),
            status_code=self.status_code,
            reason=self.reason,
            usage=self.usage or Usage(),
            cost=None if self.usage is None else self._cost(self.usage),
        )

    def _cost(self, usage: Usage) -> float:
        return (
            usage.input_tokens * self._provider.input_price + usage.output_tokens * self._provider.output_price
        ) / PRICED_TOKENS
