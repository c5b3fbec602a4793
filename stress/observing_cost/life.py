"""What is told of a request's life, from `submit` to the commit of the second attempt that answers it.

Each function tells one kind of thing, by the calls that the client, a worker and Celery make for it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

from celery import signals as celerys

from pipeline import journal, signals
from pipeline.schemas import Call, Priority, Status, Usage
from pipeline.store.ledger import Claim, Ending, NewRequest
from pipeline.tracing import Tracing

WORKER = "celery@worker-1"

_ID = UUID("019ab1c2-0000-7000-8000-000000000000")
_START = datetime.now(UTC)

CALL = Call(
    provider="simulator",
    model="simulated",
    started_at=_START,
    first_token_at=_START + timedelta(seconds=0.2),
    finished_at=_START + timedelta(seconds=1),
    usage=Usage(1000, 200),
    cost=0.01,
    status_code=200,
)

NEW = NewRequest(
    id=_ID,
    user_id="ada",
    conversation_id="thesis",
    agent="chat",
    text="",
    metadata={},
    priority=Priority.normal,
    idempotency_key=None,
    content_hash=None,
    origin="",
    stream_key=b"",
    max_attempts=3,
    timeout=300,
    deadline=3600,
)

CLAIM = Claim(
    id=_ID,
    user_id="ada",
    conversation_id="thesis",
    agent="chat",
    text="",
    metadata={},
    fence=1,
    attempt=2,
    max_attempts=3,
    session_id=1,
    position=1,
    origin="",
    stream_key=b"",
    queue=Priority.normal,
    published_at=_START,
    publications=2,
    run_left=300,
    deadline_left=3600,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)

ENDING = Ending(_ID, Status.succeeded, 1, "ada", 1, 1, calls=(CALL,), attempt=2)

#: What the signals' receivers look at.
_TASK = SimpleNamespace(name="pipeline.answer")

_received, _ended = logging.getLogger("celery.worker.strategy"), logging.getLogger("celery.app.trace")


def counted(user: str) -> None:
    """All that is counted of it, as of its second attempt on."""
    celerys.task_received.send(sender=None, request=_TASK)
    signals.request_begun(user)
    with signals.in_progress():
        signals.provider_called(CALL)
    signals.users_met((user,))
    signals.attempt_ended(Status.succeeded, 2, waited=0.1, ran=1.0, retried_for="http_503")
    signals.request_ended(Status.succeeded, user, seconds=1.2, attempts=2)
    signals.overhead(0.004)
    signals.provider_paid((CALL,), used=True)
    celerys.task_postrun.send(sender=None, task=_TASK, state="SUCCESS")


def logged(_user: str) -> None:
    """Its acceptance, at DEBUG, and the three lines of an attempt with one call."""
    journal.accepted(NEW)
    with journal.attempting(CLAIM, WORKER, None):
        journal.call_ended(CALL)
        journal.attempt_ended(ENDING, 1.2)


def logged_by_celery(_user: str) -> None:
    """The two lines that Celery's own worker writes of each task."""
    task = {"id": str(_ID), "name": _TASK.name}
    _received.info("Task %(name)s[%(id)s] received", task, extra={"data": task})
    task |= {"return_value": "None", "runtime": "1.2"}
    _ended.info("Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s", task, extra={"data": task})


def traced(tracing: Tracing) -> None:
    """Its submission, and the attempt with what belongs to it: five spans where it is traced."""
    with tracing.submitting(NEW):
        pass
    with tracing.attempting(CLAIM, WORKER) as trace:
        trace.called((CALL,))
        ending = replace(ENDING, trace_id=trace.trace_id) if trace.trace_id else ENDING
        with trace.committing(ending):
            pass
