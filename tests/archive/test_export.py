"""Export: a conversation as one document, or as lines, with what is archived and what is hot."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pipeline.archive.archiver import Archiver
from pipeline.archive.document import parse
from pipeline.archive.export import Exporter
from pipeline.archive.storage import Folder
from pipeline.errors import ArchiveDamaged
from pipeline.schemas import Message
from pipeline.store import archives, retention
from pipeline.store.archives import audit
from tests.archive.library import Library
from tests.store.desk import Sql

Export = Callable[[], Exporter]


@pytest.fixture
def damaged() -> list[ArchiveDamaged]:
    return []


@pytest.fixture
def exporter(library: Library, storage: Folder, damaged: list[ArchiveDamaged]) -> Exporter:
    return Exporter(library.database, storage, damaged.append)


def document(exporter: Exporter, conversation: str = "thesis") -> bytes:
    (one,) = audit.conversations(exporter.database, "ada", conversation)
    return "".join(exporter.document("ada", one)).encode()


def test_a_document_has_an_archives_format_and_all_messages(
    exporter: Exporter, library: Library, archiver: Archiver, tool_turn: tuple[Message, Message]
) -> None:
    session = library.converse(3, *tool_turn)
    archiver.archive([session])
    library.converse(1)
    assert len(library.live(session)) == 1
    found = parse("export.json", document(exporter))
    assert found.messages == library.read(session)
    assert (found.user_id, found.conversation_id, found.message_count) == ("ada", "thesis", 14)
    (archived,) = library.documents(session)
    assert found.history[: archived.message_count] == archived.history
    assert found.session_info.keys() == archived.session_info.keys()
    assert found.session_info["archived_message_count"] == 14
    assert found.session_info["duration_seconds"] > 0


def test_all_of_a_users_are_a_list_of_documents(exporter: Exporter, library: Library) -> None:
    for name in ("a", "b"):
        library.converse(1, conversation=name)
    library.converse(1, user="bob")
    found = json.loads("".join(exporter.documents("ada")))
    assert [(one["conversation_id"], one["message_count"]) for one in found] == [("a", 2), ("b", 2)]
    assert json.loads("".join(exporter.documents("nobody"))) == []


def test_lines_say_whose_each_message_is(exporter: Exporter, library: Library, archiver: Archiver) -> None:
    archiver.archive([library.converse(4)])
    library.converse(1, conversation="zoology")
    lines = [json.loads(line) for line in exporter.lines("ada")]
    assert [(one["conversation_id"], one["number"]) for one in lines] == [
        *(("thesis", number) for number in range(1, 9)),
        *(("zoology", number) for number in range(1, 3)),
    ]
    assert lines[0]["content"] == "Question 1?"
    assert [line["number"] for line in map(json.loads, exporter.lines("ada", "zoology"))] == [1, 2]


def test_what_moves_meanwhile_is_exported_once(exporter: Exporter, library: Library, archiver: Archiver) -> None:
    session = library.fill(1000)
    (one,) = audit.conversations(exporter.database, "ada", "thesis")
    numbers = []
    for entry in exporter.entries(one):
        numbers.append(entry["number"])
        if entry["number"] == 100:
            archiver.archive([session])
            library.converse(1)  # too late for this export
        if entry["number"] == 700:
            for archive in reversed(library.live(session)):
                (found,) = (d for d in library.documents(session) if d.history[0]["number"] == archive.first_number)
                archives.restore(library.database, archive, found.history, grace=60)
                library.storage.delete(archive.name)
    assert numbers == list(range(1, 1001))


def test_a_damaged_archive_is_named_and_the_rest_is_exported(
    exporter: Exporter, library: Library, archiver: Archiver, damaged: list[ArchiveDamaged]
) -> None:
    for _ in range(2):
        archiver.archive([library.converse(3)], force=True)
    first, second = library.live(library.standing().session_id)
    library.storage.put(first.name, b"nonsense")
    found = parse("export.json", document(exporter))
    assert [one.name for one in damaged] == [first.name]
    assert found.history[0]["number"] == second.first_number


def test_a_missing_archive_is_looked_for_again_before_it_is_named(
    exporter: Exporter, library: Library, archiver: Archiver, damaged: list[ArchiveDamaged]
) -> None:
    archiver.archive([library.converse(4)])
    (only,) = library.live(library.standing().session_id)
    library.storage.delete(only.name)
    assert len(list(exporter.lines("ada"))) == 2
    assert [one.name for one in damaged] == [only.name]


def test_what_has_expired_is_left_out(exporter: Exporter, library: Library, archiver: Archiver, sql: Sql) -> None:
    archiver.archive([library.converse(4)])
    sql.execute("UPDATE archives SET archived_at = now() - interval '9 days'")
    assert retention.expire_archives(library.database, age=86_400) == 1
    found = parse("export.json", document(exporter))
    assert [entry["number"] for entry in found.history] == [7, 8]
