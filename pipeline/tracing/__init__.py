"""Traces: one a request, from `submit` over the queue and its attempts to the commit, across processes.

Off by default, and then nothing of OpenTelemetry is imported. With `CITE_AGENT_TRACING=on` and the extra `otel`, spans
go where OpenTelemetry's own variables say: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER` …
A request is traced if it was submitted by a process that traces.

The spans are made by hand. Of the ready instrumentations, Celery's sees only what Celery publishes, and requests are
published without it; psycopg's sees statements that several requests share, so that it would hang one's work on
another's trace; those for the OpenAI SDK and httpx look at methods and a package that are not used here, and the
former may record what was said. What is written into a message is W3C's `traceparent`, where Celery's instrumentation
looks for it too: agent code that uses it finds its spans in the same trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import ConfigurationError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.schemas import Call
    from pipeline.store.ledger import Claim, Ending, NewRequest


class AttemptTrace(Protocol):
    """The part of a trace that is one attempt's. Nothing here raises."""

    #: 32 hexadecimal digits; None where nothing is traced.
    trace_id: str | None

    def called(self, calls: Sequence[Call]) -> None:
        """These calls of providers were made."""

    def committing(self, ending: Ending) -> AbstractContextManager[object]:
        """The attempt is over, and how it ended is being committed."""

    def lost(self, why: str) -> None:
        """It ended without its claim."""


class Tracing(Protocol):
    """A process's way to make traces. Safe to use from any thread."""

    def submitting(self, *requests: NewRequest) -> AbstractContextManager[Sequence[NewRequest]]:
        """Requests are being handed over, and bear their trace along from here on."""

    def attempting(self, claim: Claim, worker: str) -> AbstractContextManager[AttemptTrace]:
        """A worker is at work on a request."""

    def close(self) -> None:
        """Send what was not sent, as far as that goes in a moment."""


class Untraced:
    """The attempt of a request that is not traced."""

    trace_id: str | None = None

    def called(self, calls: Sequence[Call]) -> None:
        """Not traced."""

    def committing(self, ending: Ending) -> AbstractContextManager[object]:  # noqa: ARG002 - the protocol's
        return nullcontext()

    def lost(self, why: str) -> None:
        """Not traced."""


UNTRACED = Untraced()


class Off:
    """Traces nothing."""

    @contextmanager
    def submitting(self, *requests: NewRequest) -> Iterator[Sequence[NewRequest]]:
        yield requests

    def attempting(self, claim: Claim, worker: str) -> AbstractContextManager[AttemptTrace]:  # noqa: ARG002 - likewise
        return nullcontext(UNTRACED)

    def close(self) -> None:
        """There is nothing to send."""


def from_settings(settings: Settings) -> Tracing:
    """As the settings say. Raises ConfigurationError where the extra is not installed."""
    if not settings.tracing:
        return Off()
    try:
        from pipeline.tracing.otel import OpenTelemetry
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"CITE_AGENT_TRACING: {missing.name} is not installed; install agent-pipeline[otel], or switch tracing off"
        ) from None
    return OpenTelemetry()
