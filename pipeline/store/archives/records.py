"""What goes into the archives' verbs and what comes out of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from pipeline.schemas import Message
from pipeline.settings import Settings

#: Most messages and bytes of one object before it is compressed; a larger single message is one alone.
MOST_MESSAGES = 1000
MOST_BYTES = 8_000_000

#: Of those bytes, what a document needs beside its messages; ids take up to twelve a character.
HEAD_BYTES = 8_000


@dataclass(frozen=True, slots=True)
class Rules:
    """When a session is due, and what stays hot. Durations are seconds."""

    #: A session with more hot messages is archived right after a turn (`most_hot`), or by the sweep (`threshold`).
    most_hot: int
    threshold: int
    #: Messages that stay hot; with more than these, a session is due once its oldest hot one is older than `age`.
    window: int
    age: float
    #: After so long without a message everything is archived.
    idle: float
    most_messages: int = MOST_MESSAGES
    most_bytes: int = MOST_BYTES - HEAD_BYTES

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            most_hot=settings.max_messages_in_memory,
            threshold=settings.archive_threshold,
            window=settings.recent_context_window,
            age=settings.archive_hours * 3600,
            idle=settings.session_idle_days * 86400,
        )

    def as_parameters(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that may be archived now. `archived_at` is later than that of its archives, whatever the clock."""

    session_id: int
    user_id: str
    conversation_id: str
    archived_at: datetime


@dataclass(frozen=True, slots=True)
class Pending:
    """An archive whose range is fixed and whose object is to be written. `size` is its document's, estimated."""

    id: int
    session_id: int
    user_id: str
    conversation_id: str
    name: str
    first_number: int
    last_number: int
    message_count: int
    token_count: int
    oldest_at: datetime
    newest_at: datetime
    archived_at: datetime
    failures: int
    #: When the session began.
    session_since: datetime
    size: int
    #: Whether more of the session is to follow at once.
    more: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """What a model is told about a session's messages `first_number` to `through_number`; `tokens` is an estimate."""

    text: str
    first_number: int
    through_number: int
    by: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Written:
    """A pending archive whose object was read back whole. `summary` is None where there is nothing new to sum up."""

    id: int
    sha256: bytes
    bytes: int
    summary: Summary | None


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a run of a session's messages is. `status` is `live` or `expired`, as a rule."""

    id: int
    session_id: int
    user_id: str
    conversation_id: str
    first_number: int
    last_number: int
    name: str
    status: str
    sha256: bytes
    archived_at: datetime


@dataclass(frozen=True, slots=True)
class Passage:
    """The next of a session's messages: those of a page that are hot, or the archive that holds the next one."""

    messages: tuple[Message, ...] = ()
    archive: Archive | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a session is archived: 1 to `archived_through`, and `hot` messages after that."""

    session_id: int
    last_number: int
    archived_through: int
    restored_until: datetime | None

    @property
    def hot(self) -> int:
        return self.last_number - self.archived_through
