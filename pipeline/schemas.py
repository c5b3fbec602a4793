"""The pipeline's nouns as frozen values. They hold facts and know nothing of where those come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Literal

#: Anything that JSON can say.
Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

Role = Literal["system", "user", "assistant", "tool"]


class Priority(IntEnum):
    """How urgent a request is; also the queue it travels in. Lower is sooner."""

    urgent = 0
    normal = 1
    batch = 2


class Status(StrEnum):
    """Where a request stands. The last four are outcomes, and final."""

    queued = "queued"
    running = "running"
    retrying = "retrying"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    expired = "expired"

    @property
    def final(self) -> bool:
        return self in OUTCOMES


OUTCOMES = frozenset({Status.succeeded, Status.failed, Status.cancelled, Status.expired})


@dataclass(frozen=True, slots=True)
class Usage:
    """What a provider counted, in tokens."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a session's history. `number` is None until the commit has given it one."""

    role: Role
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    number: int | None = None
    request_id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a provider within an attempt. Times are the worker's wall clock, in UTC."""

    provider: str
    model: str
    started_at: datetime
    first_token_at: datetime | None
    finished_at: datetime
    status_code: int | None = None
    reason: str | None = None
    usage: Usage = Usage()
    cost: float | None = None
    choice: str = "first configured"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, whole."""

    text: str
    provider: str
    model: str
    usage: Usage = Usage()
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from acceptance to the first claim, of the last attempt, and from acceptance to outcome."""

    queued: float
    running: float
    total: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request ended with."""

    text: str
    provider: str | None
    model: str | None
    usage: Usage
    attempts: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased: how many of what, and when; nothing of whom. `scope` is `session` or `user`.

    `finished_at` is None while something could not be removed yet; it will be. Of the `messages`, `archived` were in
    cold storage; of the `requests`, `cancelled` had no outcome.
    """

    id: str
    scope: str
    begun_at: datetime
    finished_at: datetime | None
    sessions: int
    messages: int
    archived: int
    archives: int
    summaries: int
    requests: int
    cancelled: int
    attempts: int
    calls: int

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left anywhere."""
        return self.finished_at is not None
