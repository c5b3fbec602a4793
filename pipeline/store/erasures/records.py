"""What goes into the verbs of erasing and what comes out of them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from pipeline.store.ledger.records import Publication

#: Bytes of a receipt's salt.
SALT_SIZE = 32


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be erased: a conversation, or without one all of a user's."""

    user_id: str
    conversation_id: str | None = None

    @property
    def name(self) -> str:
        return "user" if self.conversation_id is None else "session"

    def hashed(self, salt: bytes) -> tuple[bytes, bytes | None]:
        """The ids as a receipt has them: to be told by whoever knows them, and by nobody else."""
        conversation = self.conversation_id
        return keyed(salt, self.user_id), None if conversation is None else keyed(salt, conversation)


@dataclass(frozen=True, slots=True)
class Erased:
    """What is to be told after a session's rows are gone.

    `cancelled` are its requests that had no outcome, by the client process that may wait for it; `running` those of
    them that a worker is busy with; `publications` what their user may run now instead.
    """

    cancelled: dict[str, list[UUID]] = field(default_factory=dict)
    running: tuple[tuple[UUID, UUID], ...] = ()
    publications: tuple[Publication, ...] = ()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How far an erasure has come: its sessions, until all are gone, and the streams that it is still to remove."""

    id: UUID
    sessions: tuple[int, ...]
    streams: tuple[UUID, ...]


def new_salt() -> bytes:
    return secrets.token_bytes(SALT_SIZE)


def keyed(salt: bytes, id_: str) -> bytes:
    """An id under a receipt's salt."""
    return hmac.digest(salt, id_.encode("utf-8", "surrogatepass"), hashlib.sha256)
