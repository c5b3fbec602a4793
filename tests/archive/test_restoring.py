"""Restoring: what was archived is hot again for the grace time, and nothing is there twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.archive import restoring
from pipeline.archive.archiver import Archiver
from pipeline.archive.storage import Folder
from pipeline.errors import ArchiveBusy, ArchiveDamaged, SessionNotFound
from pipeline.schemas import Message
from pipeline.store import archives
from pipeline.store.database import Database
from tests.archive.conftest import MakeArchiver
from tests.archive.library import RULES, Library
from tests.store.desk import Sql


def restore(library: Library, first: int = 1, grace: float = 3600) -> restoring.Restored:
    return restoring.restore(library.database, library.storage, "ada", "thesis", grace=grace, first=first)


def test_a_restored_session_is_what_it_was(
    archiver: Archiver, library: Library, folder: Path, sql: Sql, tool_turn: tuple[Message, Message]
) -> None:
    session = library.converse(4, *tool_turn)
    whole = "SELECT * FROM messages ORDER BY number"
    before = sql.execute(whole).fetchall()
    archiver.archive([session])
    assert restore(library) == restoring.Restored(archives=1, messages=12, hot_from=1)
    assert sql.execute(whole).fetchall() == before
    assert list(folder.iterdir()) == []
    assert library.statuses(session) == ["restored"]
    library.assert_whole(session)


def test_it_stays_hot_for_the_grace_time(archiver: Archiver, library: Library, sql: Sql) -> None:
    session = library.converse(4)
    archiver.archive([session])
    restore(library)
    assert archiver.archive([session]).archives == 0
    assert archives.due(library.database, RULES, most=10) == []
    sql.execute("UPDATE sessions SET restored_until = now() - interval '1 second'")
    assert archives.due(library.database, RULES, most=10) == [session]
    assert archiver.archive([session]).archives == 1
    assert library.statuses(session) == ["restored", "live"]
    library.assert_whole(session)


def test_meanwhile_the_context_starts_after_the_summary(archiver: Archiver, library: Library, sql: Sql) -> None:
    session = library.converse(4)
    archiver.archive([session])
    summary = sql.execute("SELECT text, through_number FROM summaries").fetchall()
    restore(library)
    context = library.desk.running().context
    assert (context[0].role, [one.number for one in context[1:]]) == ("system", [7, 8])
    archiver.archive([session], force=True)
    assert sql.execute("SELECT text, through_number FROM summaries").fetchall() == summary  # it told of them before


def test_a_range_brings_back_what_is_newer_too(make_archiver: MakeArchiver, library: Library) -> None:
    session = library.fill(60)
    make_archiver(most_messages=20).archive([session])
    assert restore(library, first=30) == restoring.Restored(archives=2, messages=38, hot_from=21)
    assert library.statuses(session) == ["live", "restored", "restored"]
    library.assert_whole(session)
    library.converse(1)
    library.assert_whole(session)


def test_one_that_is_not_archived_stays_as_it_is(library: Library) -> None:
    library.converse(1)
    assert restore(library) == restoring.Restored(archives=0, messages=0, hot_from=1)


def test_one_that_is_not_known_is_named(library: Library) -> None:
    with pytest.raises(SessionNotFound, match="none 'thesis' of user 'ada'"):
        restore(library)


def test_a_damaged_archive_is_not_restored_and_what_is_newer_is(
    make_archiver: MakeArchiver, library: Library, folder: Path
) -> None:
    session = library.fill(60)
    make_archiver(most_messages=20).archive([session])
    bad = folder / library.live(session)[0].name
    bad.write_bytes(b"nothing")
    with pytest.raises(ArchiveDamaged, match=bad.name):
        restore(library)
    assert library.statuses(session) == ["live", "restored", "restored"]
    assert library.hot(session) == list(range(21, 61))


def test_while_it_is_being_archived_the_caller_is_told_to_try_again(
    archiver: Archiver, library: Library, store: Database, storage: Folder
) -> None:
    session = library.converse(4)
    archiver.archive([session])
    library.converse(4)
    (candidate,) = archives.candidates(store, [session])
    archives.take(store, [(candidate, "next")], RULES)
    with pytest.raises(ArchiveBusy, match="try again"):
        restore(library)
    assert library.statuses(session) == ["live", "pending"]


def test_two_at_once_restore_it_once(archiver: Archiver, library: Library, store: Database, storage: Folder) -> None:
    session = library.converse(4)
    archiver.archive([session])
    (archive,) = library.live(session)
    history = library.documents(session)[0].history
    assert archives.restore(store, archive, history, grace=60)
    assert not archives.restore(store, archive, history, grace=60)
    assert library.hot(session) == list(range(1, 9))
