"""Export: a conversation, or all of a user's, as a document like an archive's, or as a message a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.archive.document import SCHEMA_VERSION
from pipeline.archive.reading import LOOKS, fetch
from pipeline.archive.storage import Storage
from pipeline.errors import ArchiveDamaged, ObjectNotFound
from pipeline.store import archives
from pipeline.store.archives import Archive, audit
from pipeline.store.archives.audit import Conversation
from pipeline.store.database import Database

#: Messages read from Postgres at a time.
PAGE = 200

Entry = dict[str, Any]


@dataclass(frozen=True)
class Exporter:
    """Gives text piece by piece: memory holds one archive at most.

    A damaged archive is told to `on_damage` and left out, as is what has expired.
    """

    database: Database
    storage: Storage
    on_damage: Callable[[ArchiveDamaged], None]

    def document(self, user_id: str, one: Conversation) -> Iterator[str]:
        """One conversation as JSON; the format is that of an archive that is not compressed."""
        head = {
            "schema_version": SCHEMA_VERSION,
            "user_id": user_id,
            "conversation_id": one.conversation_id,
            "archived_at": datetime.now(UTC).isoformat(),
        }
        yield f'{_json(head)[:-1]}, "conversation_history": ['
        count = tokens = last_number = 0
        newest = one.created_at
        for entry in self.entries(one):
            yield f"{',' if count else ''}\n{_json(entry)}"
            count += 1
            tokens += (len(entry["content"].encode()) + 3) // 4
            last_number, newest = entry["number"], datetime.fromisoformat(entry["created_at"])
        info = {
            "duration_seconds": max(0.0, (newest - one.created_at).total_seconds()),
            "token_count": tokens,
            "archived_message_count": last_number,
        }
        yield f'\n], "message_count": {count}, "session_info": {_json(info)}}}\n'

    def documents(self, user_id: str) -> Iterator[str]:
        """All of a user's conversations, as a JSON list of such documents."""
        before = "["
        for one in audit.conversations(self.database, user_id):
            yield before
            yield from self.document(user_id, one)
            before = ","
        yield "]\n" if before == "," else "[]\n"

    def lines(self, user_id: str, conversation_id: str | None = None) -> Iterator[str]:
        """Each message as a line of JSON that says whose it is, conversation after conversation."""
        for one in audit.conversations(self.database, user_id, conversation_id):
            whose = {"user_id": user_id, "conversation_id": one.conversation_id}
            for entry in self.entries(one):
                yield f"{_json({**whose, **entry})}\n"

    def entries(self, one: Conversation) -> Iterator[Entry]:
        """Its messages up to the newest one that there was, wherever they are, whatever is moved meanwhile."""
        newest = looks = 0
        while newest < one.last_number:
            found = archives.passage(self.database, one.id, after=newest, most=1)
            if found.archive is not None:
                entries = self._of(found.archive, looks)
                looks = 0 if entries is not None else looks + 1
                yield from (entry for entry in entries or () if newest < entry["number"] <= one.last_number)
                newest = newest if entries is None else found.archive.last_number
            elif found.messages:
                page = audit.entries(self.database, one.id, after=newest, most=min(PAGE, one.last_number - newest))
                if page and page[0]["number"] == found.messages[0].number:  # else it was archived between the two
                    yield from page
                    newest = page[-1]["number"]
            else:
                return

    def _of(self, archive: Archive, looks: int) -> list[Entry] | None:
        """What it holds; None when it is to be looked for once more, for it may have been restored a moment ago."""
        if archive.status != "live":
            return []
        try:
            return fetch(self.storage, archive).history
        except ArchiveDamaged as damage:
            if isinstance(damage, ObjectNotFound) and looks + 1 < LOOKS:
                return None
            self.on_damage(damage)
            return []


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
