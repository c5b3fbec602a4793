"""Traces by OpenTelemetry. Imported only where they are asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import UUID

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline.schemas import Call, Priority, Status
from pipeline.tracing import UNTRACED, AttemptTrace

if TYPE_CHECKING:
    from pipeline.store.ledger import Claim, Ending, NewRequest

#: Seconds that the end of a process waits for its last spans to be taken.
LAST_SPANS = 3.0

HEADER = "traceparent"

_chosen_id: ContextVar[int | None] = ContextVar("chosen_id", default=None)
_w3c = TraceContextTextMapPropagator()


class Ids(RandomIdGenerator):
    """Random ids, but for the span of an attempt: the next attempt links to it, although another process made it,
    and may have died before anybody was told of it."""

    def generate_span_id(self) -> int:
        return _chosen_id.get() or super().generate_span_id()


def attempt_id(request: UUID, attempt: int) -> int:
    """The id of the span of that attempt."""
    digest = blake2b(request.bytes + attempt.to_bytes(2, "big"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


class OpenTelemetry:
    """Spans through a provider of our own, so that their ids are ours to choose and nobody else's are sent along.

    It becomes the process's, for an agent's own spans, unless there is one.
    """

    def __init__(self) -> None:
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create(None if named else {"service.name": "agent-pipeline"})
        self._provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("agent-pipeline")

    @contextmanager
    def submitting(self, *requests: NewRequest) -> Iterator[Sequence[NewRequest]]:
        spans = [self._submission(one) for one in requests]
        try:
            yield [replace(one, traceparent=_written(span)) for one, span in zip(requests, spans, strict=True)]
        except BaseException as fault:
            for span in spans:
                span.set_status(StatusCode.ERROR, type(fault).__name__)
            raise
        finally:
            for span in spans:
                span.end()

    @contextmanager
    def attempting(self, claim: Claim, worker: str) -> Iterator[AttemptTrace]:
        if claim.traceparent is None:
            yield UNTRACED
            return
        parent = _w3c.extract({HEADER: claim.traceparent})
        self._tracer.start_span("queue", parent, start_time=_nanoseconds(claim.published_at)).end()
        chosen = _chosen_id.set(attempt_id(claim.id, claim.attempt))
        try:
            span = self._tracer.start_span(
                f"attempt {claim.attempt}",
                parent,
                SpanKind.CONSUMER,
                attributes={
                    "pipeline.request_id": str(claim.id),
                    "pipeline.attempt": claim.attempt,
                    "pipeline.agent": claim.agent,
                    "pipeline.worker": worker,
                    "messaging.destination.name": Priority(claim.queue).name,
                },
                links=_earlier(claim, parent),
            )
        finally:
            _chosen_id.reset(chosen)
        # An error that an agent raises may hold what was said: it is not recorded.
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield OneAttempt(self._tracer, span)

    def close(self) -> None:
        # In a thread, for where nobody takes the spans the exporter tries for as long as it likes.
        last = threading.Thread(target=self._provider.shutdown, name="pipeline-last-spans", daemon=True)
        last.start()
        last.join(LAST_SPANS)

    def _submission(self, new: NewRequest) -> Span:
        return self._tracer.start_span(
            "submit",
            kind=SpanKind.PRODUCER,
            attributes={
                "pipeline.request_id": str(new.id),
                "pipeline.agent": new.agent,
                "pipeline.priority": Priority(new.priority).name,
            },
        )


class OneAttempt:
    """The span of an attempt and those below it."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self.trace_id: str | None = trace.format_trace_id(span.get_span_context().trace_id)

    def called(self, calls: Sequence[Call]) -> None:
        """A span each, made afterwards from their records: one way for every provider, and nothing of the texts."""
        within = trace.set_span_in_context(self._span)
        for call in calls:
            span = self._tracer.start_span(
                f"chat {call.model}",
                within,
                SpanKind.CLIENT,
                attributes={
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": call.provider,
                    "gen_ai.request.model": call.model,
                    "gen_ai.usage.input_tokens": call.usage.input_tokens,
                    "gen_ai.usage.output_tokens": call.usage.output_tokens,
                    "pipeline.choice": call.choice,
                },
                start_time=_nanoseconds(call.started_at),
            )
            if call.status_code is not None:
                span.set_attribute("http.response.status_code", call.status_code)
            if call.first_token_at is not None:
                span.add_event("first token", timestamp=_nanoseconds(call.first_token_at))
            _failed(span, call.reason)
            span.end(_nanoseconds(call.finished_at))

    @contextmanager
    def committing(self, ending: Ending) -> Iterator[None]:
        self._span.set_attribute("pipeline.outcome", str(ending.status))
        if ending.delay is not None:
            self._span.set_attribute("pipeline.retry_in", ending.delay)
        _failed(self._span, ending.reason or (None if ending.status is Status.succeeded else str(ending.status)))
        within = trace.set_span_in_context(self._span)
        span = self._tracer.start_span("commit", within)
        try:
            yield
        finally:
            span.end()

    def lost(self, why: str) -> None:
        _failed(self._span, why)


def _failed(span: Span, reason: str | None) -> None:
    if reason is not None:
        span.set_attribute("error.type", reason)
        span.set_status(StatusCode.ERROR, reason)


def _earlier(claim: Claim, parent: context.Context) -> list[Link]:
    """A link to the attempt before this one."""
    if claim.attempt == 1:
        return []
    trace_id = trace.get_current_span(parent).get_span_context().trace_id
    before = attempt_id(claim.id, claim.attempt - 1)
    earlier = SpanContext(trace_id, before, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return [Link(earlier, {"pipeline.link": "retry of"})]


def _written(span: Span) -> str | None:
    """The `traceparent` of what this span begins; None where it is not to be followed."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, trace.set_span_in_context(span))
    return carrier.get(HEADER)


def _nanoseconds(when: datetime) -> int:
    return round(when.timestamp() * 1_000_000) * 1000
