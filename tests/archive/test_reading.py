"""Reading on: hot or archived, a session's messages come in order, each once, whatever happens meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Client, Settings
from pipeline.archive import restoring
from pipeline.archive.archiver import Archiver
from pipeline.archive.reading import PAGE, messages
from pipeline.archive.storage import Folder
from pipeline.errors import AnswerGone, ArchiveDamaged
from pipeline.store.database import Database
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library
from tests.store.desk import Sql

#: A port that nobody listens on.
NO_BROKER = "redis://127.0.0.1:1/0"


def client(database: str, folder: Path) -> Client:
    return Client(
        Settings(database_url=database, broker_url=NO_BROKER, cold_storage_url=str(folder), broker_timeout=0.3)
    )


def test_a_client_reads_what_is_hot_or_all(
    make_archiver: MakeArchiver, library: Library, ledger_url: str, folder: Path
) -> None:
    session = library.fill(50)
    make_archiver(most_messages=20).archive([session])
    with client(ledger_url, folder) as reader:
        assert [one.number for one in reader.history("ada", "thesis")] == [49, 50]
        whole = list(reader.history("ada", "thesis", include_archived=True))
        assert [one.number for one in whole] == list(range(1, 51))
        assert list(reader.history("ada", "unknown", include_archived=True)) == []


def test_what_is_archived_while_it_is_read_comes_once(
    archiver: Archiver, library: Library, store: Database, storage: Folder
) -> None:
    session = library.fill(2 * PAGE + 50)
    reading = messages(store, storage, session)
    first = next(reading)
    archiver.archive([session])
    assert [first.number, *(one.number for one in reading)] == list(range(1, 2 * PAGE + 51))


def test_what_is_restored_while_it_is_read_comes_once(
    make_archiver: MakeArchiver, library: Library, store: Database, storage: Folder
) -> None:
    session = library.fill(60)
    make_archiver(most_messages=20).archive([session])
    reading = messages(store, storage, session)
    first = next(reading)
    restoring.restore(store, storage, "ada", "thesis", grace=60)
    assert [first.number, *(one.number for one in reading)] == list(range(1, 61))


@pytest.mark.parametrize("harm", ["truncated", "altered", "missing", "another's"])
def test_a_damaged_archive_is_named_and_the_rest_is_read(
    make_archiver: MakeArchiver, library: Library, folder: Path, harm: str
) -> None:
    session = library.fill(60)
    make_archiver(most_messages=20).archive([session])
    bad, other = (folder / one.name for one in library.live(session)[1:])
    data = bad.read_bytes()
    match harm:
        case "truncated":
            bad.write_bytes(data[:-7])
        case "altered":
            bad.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
        case "missing":
            bad.unlink()
        case _:
            bad.write_bytes(other.read_bytes())
    with pytest.raises(ArchiveDamaged, match=bad.name):
        library.read(session)
    found: list[ArchiveDamaged] = []
    rest = list(messages(library.database, library.storage, session, on_damage=found.append))
    assert [one.number for one in rest] == [*range(1, 21), *range(41, 61)]
    assert [one.name for one in found] == [bad.name]


def test_what_has_expired_is_left_out(make_archiver: MakeArchiver, library: Library, sql: Sql) -> None:
    session = library.fill(60)
    make_archiver(most_messages=20).archive([session])
    sql.execute("UPDATE archives SET status = 'expired' WHERE first_number = 1")
    assert [one.number for one in library.read(session)] == list(range(21, 61))


def test_an_answer_that_was_archived_is_still_the_result(
    archiver: Archiver, library: Library, ledger_url: str, folder: Path, sql: Sql
) -> None:
    session = library.converse(4)
    archiver.archive([session])
    ids = [str(id_) for (id_,) in sql.execute("SELECT id FROM requests ORDER BY position")]
    with client(ledger_url, folder) as asker:
        answers = [asker.get(id_).result(60).text for id_ in ids]
        assert answers == [f"Answer {number}." for number in range(1, 5)]
        assert "".join(asker.get(ids[0]).stream(10)) == "Answer 1."
        sql.execute("UPDATE archives SET status = 'expired'")
        with pytest.raises(AnswerGone):
            asker.get(ids[0]).result(60)
