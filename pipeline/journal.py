"""The journal: what a log tells of a request on its way, one line a fact, without a word of what was said.

A line bears the ids that the running attempt has bound: request, attempt, worker, trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from structlog.contextvars import bound_contextvars

from pipeline.schemas import OUTCOMES, Call, Priority, Status

if TYPE_CHECKING:
    from pipeline.store.ledger import Claim, Ending, NewRequest
    from pipeline.store.ledger.recover import Stranded

log = structlog.get_logger("pipeline")


def accepted(new: NewRequest) -> None:
    """A request is kept. For whoever debugs agent code: its own log is not ours to fill."""
    log.debug("request_accepted", request_id=str(new.id), agent=new.agent, priority=Priority(new.priority).name)


@contextmanager
def attempting(claim: Claim, worker: str, trace_id: str | None) -> Iterator[None]:
    """Whatever this thread logs meanwhile belongs to this attempt, also what an agent or a library has to say."""
    trace = {"trace_id": trace_id} if trace_id else {}
    with bound_contextvars(request_id=str(claim.id), attempt=claim.attempt, worker=worker, **trace):
        waited = max(0.0, (datetime.now(UTC) - claim.published_at).total_seconds())
        log.info("request_claimed", agent=claim.agent, queue=Priority(claim.queue).name, queued=round(waited, 3))
        yield


def call_ended(call: Call) -> None:
    """A provider has answered, or has not."""
    facts: dict[str, object] = {"reason": call.reason} if call.reason else {}
    if call.first_token_at is not None:
        facts["first_token"] = _seconds(call.started_at, call.first_token_at)
    log.info(
        "call_ended",
        provider=call.provider,
        model=call.model,
        seconds=_seconds(call.started_at, call.finished_at),
        status_code=call.status_code,
        tokens=call.usage.input_tokens + call.usage.output_tokens,
        **facts,
    )


def attempt_ended(ending: Ending, seconds: float) -> None:
    """How the attempt went is committed: as an outcome, or as another try `retry_in` seconds from now."""
    facts: dict[str, object] = {"reason": ending.reason} if ending.reason else {}
    if ending.status is Status.retrying:
        facts["retry_in"] = ending.delay
    log.info("attempt_ended", outcome=str(ending.status), seconds=round(seconds, 3), **facts)


def attempt_lost(why: str, seconds: float) -> None:
    """The attempt ended without its claim, and wrote nothing."""
    log.info("attempt_lost", why=why, seconds=round(seconds, 3))


def rescued(one: Stranded, ending: Ending) -> None:
    """Recovery has ended a request that could not go on, or runs it again."""
    log.info(
        "request_rescued",
        request_id=str(one.id),
        attempt=one.attempts,
        why=one.why,
        outcome=str(ending.status) if ending.status in OUTCOMES else "runs again",
    )


def _seconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 3)
