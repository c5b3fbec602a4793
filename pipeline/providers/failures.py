"""What has failed in one call of the router, and which of it is told in the end."""

from __future__ import annotations

from math import inf

from pipeline.errors import ProviderError
from pipeline.providers.routing import Candidate, helpful
from pipeline.retry import Failure, RetryPolicy, decide


class Failures:
    """Of one call, of one provider after the other. `told` is for the choice of those that are asked next."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._at: Candidate | None = None
        self._error: ProviderError | None = None
        self.told: list[str] = []

    def add(self, candidate: Candidate, error: ProviderError) -> None:
        """Take in how this provider failed. The last failure is the one to be told, but a final one gives way to an
        earlier one of a provider that may yet answer at the next attempt: one exhausted account does not end what
        another provider failed at by chance."""
        # A frame that it came through holds it: together they would stay until a collector comes by.
        error.__traceback__ = None
        self.told.append(f"{candidate.name} failed: {error.reason}")
        if self._at is None or not self.retried or self._is_retried(error) or not helpful(error, candidate, [self._at]):
            self._at, self._error = candidate, error

    def take(self) -> ProviderError:
        """The failure to be told, which is not kept here: whoever raises it holds on to this. There must be one."""
        error, self._error = self._error, None
        assert error is not None  # noqa: S101 - without one, the router's choice raises
        return error

    @property
    def retried(self) -> bool:
        """Whether there is a failure to be told after which the request is tried again, attempts being left. After
        any other, a provider that may help is worth waiting for: the request would be over."""
        return self._error is not None and self._is_retried(self._error)

    @property
    def any(self) -> bool:
        """Whether there is a failure to be told."""
        return self._error is not None

    def _is_retried(self, error: ProviderError) -> bool:
        return decide(Failure.of(error), self._policy, attempt=1, max_attempts=2, seconds_left=inf).retry
