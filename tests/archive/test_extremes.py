"""Ids of every kind, long conversations and large messages."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from pipeline.archive import reading, restoring
from pipeline.archive.archiver import Archiver
from pipeline.store.archives import records
from pipeline.store.database import Database
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library

IDS = [
    ("../../etc/x", "c"), ("a", "../../../b"), ("a/b", "c"), ("a", "b/c"), ("a_b", "c"), ("a", "b_c"), ("Ada", "c"),
    ("ada", "c"), ("🙂", "🙃🙃"), ("x" * 255, "y" * 255), ("🙂" * 255, "c"), ("%2e%2e", "%2f"), (".", ".."),
    ("a\nb", "\t"),
]  # fmt: skip


def test_whatever_the_ids_each_session_has_its_own_archive_in_the_folder(
    archiver: Archiver, library: Library, folder: Path
) -> None:
    sessions = {ids: library.fill(8, user=ids[0], conversation=ids[1]) for ids in IDS}
    assert archiver.archive(list(sessions.values())).archives == len(IDS)
    assert len(list(folder.iterdir())) == len(IDS)
    assert [one for one in folder.parent.rglob("*") if one.is_file() and one.parent != folder] == []
    for (user, conversation), session in sessions.items():
        (document,) = library.documents(session)
        assert (document.user_id, document.conversation_id) == (user, conversation)
        assert len(library.read(session)) == 8
    restored = restoring.restore(library.database, library.storage, *IDS[0], grace=60)
    assert restored.messages == 6


def test_large_messages_are_archived_and_restored(make_archiver: MakeArchiver, library: Library, folder: Path) -> None:
    session = library.fill(20, size=1_000_000)
    make_archiver(compression="none").archive([session])
    assert len(list(folder.iterdir())) == 3
    assert max(file.stat().st_size for file in folder.iterdir()) <= records.MOST_BYTES
    restoring.restore(library.database, library.storage, "ada", "thesis", grace=60)
    assert library.hot(session) == list(range(1, 21))


@pytest.mark.timeout(300)
def test_a_hundred_thousand_messages_of_one_session_take_little_memory(
    make_archiver: MakeArchiver, library: Library, store: Database
) -> None:
    session = library.fill(100_000, size=100)
    archiver = make_archiver()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = archiver.archive([session])
    assert (report.archives, report.messages) == (100, 99_998)
    for number, message in enumerate(reading.messages(store, library.storage, session), start=1):
        assert message.number == number
    assert number == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert library.hot(session) == [99_999, 100_000]
