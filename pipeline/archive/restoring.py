"""Restoring: archives become hot again, the newest first, so that what is hot stays one run."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from pipeline import signals
from pipeline.archive.reading import fetch
from pipeline.archive.storage import Storage
from pipeline.errors import StorageFailed
from pipeline.store import archives
from pipeline.store.database import Database

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """How much is hot again, and from which message on the session is hot now."""

    archives: int
    messages: int
    hot_from: int


def restore(
    database: Database, storage: Storage, user_id: str, conversation_id: str, *, grace: float, first: int = 1
) -> Restored:
    """Make a session hot again from message `first` on, or some before it where its archive begins earlier.

    It stays hot for `grace` seconds at least. Raises SessionNotFound, ArchiveBusy, ArchiveDamaged, StorageFailed: what
    was restored before stays restored.
    """
    session = archives.standing(database, user_id, conversation_id)
    count = messages = 0
    for one in reversed(archives.live(database, session.session_id)):
        if one.last_number < first:
            break
        if not archives.restore(database, one, fetch(storage, one).history, grace=grace):
            continue
        count += 1
        messages += one.last_number - one.first_number + 1
        signals.restored(messages=one.last_number - one.first_number + 1)
        _discard(storage, one.id, one.name)
    now = archives.standing(database, user_id, conversation_id)
    return Restored(count, messages, now.archived_through + 1)


def _discard(storage: Storage, archive_id: int, name: str) -> None:
    """Remove an object that nothing refers to any more. One that stays harms nobody; `archive verify` finds it."""
    try:
        storage.delete(name)
    except StorageFailed as fault:
        signals.archiving_failed(fault.kind)
        log.warning("object_not_removed", archive_id=archive_id, error=fault.kind)
