"""What goes into the ledger's verbs and what comes out of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pipeline.schemas import Call, Message, Status


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request that wants to be accepted. Durations are seconds; its id makes accepting it twice harmless."""

    id: UUID
    user_id: str
    conversation_id: str
    agent: str
    priority: int
    text: str
    metadata: dict[str, Any]
    idempotency_key: str | None
    content_hash: bytes | None
    origin: str
    stream_key: bytes
    max_attempts: int
    timeout: float
    deadline: float
    #: `queue`, `reject` or `interrupt`: what is to become of it, or of what runs, in a session that is busy.
    on_busy: str = "queue"
    #: The trace it belongs to, as W3C writes it.
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """A request to be given to the broker now. `number` counts those of one request."""

    id: UUID
    user_id: str
    conversation_id: str
    queue: int
    number: int
    traceparent: str | None = None

    @classmethod
    def of(cls, row: list[Any]) -> Self:
        """From the JSON that the ledger's functions return."""
        return cls(UUID(row[0]), *row[1:])


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a NewRequest: stored, or known before under its idempotency key (then with that one's hash)."""

    id: UUID
    origin: str
    stream_key: bytes
    content_hash: bytes | None
    #: Nothing was stored: its session has a request without an outcome, and it was to be rejected then.
    busy: bool = False
    #: The running request that it interrupts, and the worker that is to be told.
    interrupts: tuple[UUID, UUID] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer a request until `run_until`, as long as the fence stands; and all that it takes."""

    id: UUID
    fence: int
    attempt: int
    max_attempts: int
    session_id: int
    user_id: str
    conversation_id: str
    position: int
    agent: str
    text: str
    metadata: dict[str, Any]
    origin: str
    stream_key: bytes
    queue: int
    #: When it was last given to the broker, and how often it was.
    published_at: datetime
    publications: int
    #: Seconds, by the database's clock at the claim, until the attempt and the request must have ended.
    run_left: float
    deadline_left: float
    context: list[Message] = field(default_factory=list)
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a running attempt, or an unfinished request, is to end.

    `status` is an outcome; or `retrying`, with its delay; or `queued`, to wait that long without an attempt, for
    what was begun is no attempt then. With a `fence` it
    takes effect only on the running attempt that the fence was issued to; without one, on any unfinished request.
    `messages` are those of an answer, or of a request that was interrupted by the next of its session.
    """

    id: UUID
    status: Status
    fence: int | None
    user_id: str
    session_id: int
    position: int
    reason: str | None = None
    error: str | None = None
    delay: float | None = None
    #: Whether the broker carries the delay; otherwise the request waits in the ledger alone.
    countdown: bool = False
    messages: tuple[Message, ...] = ()
    calls: tuple[Call, ...] = ()
    #: The number of the attempt that made the calls.
    attempt: int = 0
    #: The trace that measurements may point to, in hexadecimal digits.
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How a request had come to where it ended, in seconds by the database's clock.

    `waited` is from when the attempt was due to its claim, None where that is not known any more; `retried_for` why
    the attempt before it failed; `worker`, the id of the one that ran it then.
    """

    was_running: bool
    attempts: int
    age: float
    waited: float | None
    ran: float | None
    retried_for: str | None
    worker: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request, as its waiters want it."""

    id: UUID
    status: Status
    reason: str | None
    attempts: int
    text: str | None
    provider: str | None
    model: str | None
    input_tokens: int
    output_tokens: int
    queued: float
    running: float
    total: float
