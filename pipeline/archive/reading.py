"""Reading on: a session's messages in order, wherever they are, while they may be archived or restored meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

from pipeline.archive.document import Document, parse
from pipeline.archive.storage import Storage
from pipeline.errors import AnswerGone, ArchiveDamaged, ObjectNotFound, SessionNotFound
from pipeline.schemas import Message
from pipeline.store import archives
from pipeline.store.archives import Archive
from pipeline.store.database import Database

#: Messages read from Postgres at a time.
PAGE = 200

#: Looks after which an object that is not there is missing, and not one that was restored between two of them.
LOOKS = 3


def messages_of(database: Database, storage: Storage, user_id: str, conversation_id: str) -> Iterator[Message]:
    """As `messages`; none for a conversation that is not known."""
    try:
        session = archives.standing(database, user_id, conversation_id)
    except SessionNotFound:
        return
    yield from messages(database, storage, session.session_id)


def answer(database: Database, storage: Storage, request_id: UUID) -> str:
    """What a request was answered whose messages have been archived.

    Raises AnswerGone when they have expired, ArchiveDamaged, StorageFailed.
    """
    messages = said(database, storage, request_id)
    if not messages:
        raise AnswerGone(str(request_id))
    return messages[-1].content


def said(database: Database, storage: Storage, request_id: UUID) -> list[Message]:
    """The archived messages of a request; none when they have expired. Raises ArchiveDamaged, StorageFailed."""
    wanted = str(request_id)
    for one in archives.holding(database, request_id):
        if found := [message for message in fetch(storage, one).messages if message.request_id == wanted]:
            return found
    return []


def messages(
    database: Database, storage: Storage, session_id: int, *, on_damage: Callable[[ArchiveDamaged], None] | None = None
) -> Iterator[Message]:
    """All of a session's messages, oldest first: memory holds one archive at most, and no transaction stays open.

    A damaged archive raises ArchiveDamaged, or is told to `on_damage` and left out. What has expired is left out.
    """
    newest = looks = 0
    while True:
        found = archives.passage(database, session_id, after=newest, most=PAGE)
        if found.archive is None:
            if not found.messages:
                return
            yield from found.messages
            newest = found.messages[-1].number or 0
            continue
        try:
            entries = _entries(storage, found.archive)
        except ArchiveDamaged as damage:
            looks += 1
            if isinstance(damage, ObjectNotFound) and looks < LOOKS:
                continue
            if on_damage is None:
                raise
            on_damage(damage)
            entries = []
        yield from (one for one in entries if (one.number or 0) > newest)
        newest, looks = found.archive.last_number, 0


def fetch(storage: Storage, archive: Archive) -> Document:
    """An archive's document, whole and its own. Raises ArchiveDamaged, StorageFailed."""
    document = parse(archive.name, storage.get(archive.name), sha256=archive.sha256)
    if (document.user_id, document.conversation_id) != (archive.user_id, archive.conversation_id):
        raise ArchiveDamaged(archive.name, "it is another conversation's")
    numbers = [entry.get("number") for entry in document.history]
    if numbers != list(range(archive.first_number, archive.last_number + 1)):
        raise ArchiveDamaged(archive.name, "its numbers are not those on record")
    return document


def _entries(storage: Storage, archive: Archive) -> list[Message]:
    return fetch(storage, archive).messages if archive.status == "live" else []
