"""The document: what an object holds. JSON that people and DuckDB can read, and that a session can be restored from.

The history in it is as Postgres wrote it: the same rows give the same bytes, so writing an object twice does no harm.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import zstandard

from pipeline.archive.names import is_compressed
from pipeline.errors import ArchiveDamaged
from pipeline.schemas import Message
from pipeline.store.archives.records import Pending

#: The version of the format; a reader refuses what is newer.
SCHEMA_VERSION = 1

#: Of zstd: the default, four times as fast as it is to read the rows.
LEVEL = 3

#: What a document must have.
FIELDS = frozenset(
    {"user_id", "conversation_id", "archived_at", "message_count", "session_info", "conversation_history"}
)


@dataclass(frozen=True, slots=True)
class Document:
    """An archive that was read, and is whole. `history` holds the entries as they are in the object."""

    user_id: str
    conversation_id: str
    archived_at: datetime
    message_count: int
    session_info: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def messages(self) -> list[Message]:
        return [message_of(entry) for entry in self.history]


def message_of(entry: dict[str, Any]) -> Message:
    """The message that an entry of the history stands for."""
    return Message(
        role=entry["role"],
        content=entry["content"],
        tool_calls=tuple(entry["tool_calls"] or ()),
        tool_call_id=entry["tool_call_id"],
        metadata=entry["metadata"] or {},
        number=entry["number"],
        request_id=entry["request_id"],
        created_at=datetime.fromisoformat(entry["created_at"]),
    )


def spoken(entry: dict[str, Any]) -> Message:
    """The same as far as a summary needs it: who said what."""
    return Message(entry["role"], entry["content"], number=entry["number"])


def serialize(pending: Pending, history: str) -> bytes:
    """The object of an archive. `history` is the JSON of its messages."""
    head = {
        "schema_version": SCHEMA_VERSION,
        "user_id": pending.user_id,
        "conversation_id": pending.conversation_id,
        "archived_at": pending.archived_at.isoformat(),
        "message_count": pending.message_count,
        "session_info": {
            "duration_seconds": max(0.0, (pending.newest_at - pending.session_since).total_seconds()),
            "token_count": pending.token_count,
            "archived_message_count": pending.last_number,
        },
    }
    whole = f'{json.dumps(head, ensure_ascii=False)[:-1]}, "conversation_history": {history}}}\n'.encode()
    if not is_compressed(pending.name):
        return whole
    # the compressor is made anew: it must not be shared between threads
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True).compress(whole)


def digest(data: bytes) -> bytes:
    """The SHA-256 of an object as it is stored."""
    return hashlib.sha256(data).digest()


def parse(name: str, data: bytes, *, sha256: bytes | None = None) -> Document:
    """Read an object. Raises ArchiveDamaged where it is not what was written, or not what this version can read."""
    if sha256 is not None and digest(data) != sha256:
        raise ArchiveDamaged(name, "its SHA-256 is not the one on record")
    try:
        whole = zstandard.ZstdDecompressor().decompress(data) if is_compressed(name) else data
        said = json.loads(whole)
    except zstandard.ZstdError:
        raise ArchiveDamaged(name, "it cannot be decompressed") from None
    except ValueError:  # not chained: it quotes what it could not read
        raise ArchiveDamaged(name, "it is not JSON") from None
    if not isinstance(said, dict) or not said.keys() >= FIELDS:
        raise ArchiveDamaged(name, "fields are missing")
    if said.get("schema_version") != SCHEMA_VERSION:
        raise ArchiveDamaged(name, f"its schema version is not {SCHEMA_VERSION}")
    if len(said["conversation_history"]) != said["message_count"]:
        raise ArchiveDamaged(name, "its messages are not as many as it says")
    return Document(
        user_id=said["user_id"],
        conversation_id=said["conversation_id"],
        archived_at=datetime.fromisoformat(said["archived_at"]),
        message_count=said["message_count"],
        session_info=said["session_info"],
        history=said["conversation_history"],
    )
