"""Ids of every kind, long conversations and large messages."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.archive import reading, restoring
from pipeline.archive.archiver import Archiver, Report
from pipeline.archive.storage import Folder
from pipeline.archive.summary import Extractive
from pipeline.store.archives import records
from pipeline.store.database import Database
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library, rules

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


def peak() -> int:
    """The most bytes of memory that this process has had in use since its program began."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def archive_and_read(url: str, folder: Path, session: int) -> tuple[Report, int]:
    """Archive a session and read it whole. Returns the report, and by how much the process grew."""
    with closing(Database(url)) as database:
        storage = Folder(folder)
        archiver = Archiver(database, storage, Extractive(), rules(), "zstd")
        before = peak()
        report = archiver.archive([session])
        numbers = (message.number for message in reading.messages(database, storage, session))
        assert all(number == place for place, number in enumerate(numbers, start=1))
        archiver.close()
        return report, peak() - before


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the largest size of a program in a process")
def test_a_hundred_thousand_messages_of_one_session_take_little_memory(
    library: Library, ledger_url: str, folder: Path
) -> None:
    session = library.fill(100_000, size=100)
    # a process of its own: the largest that this one has ever been hides what is added now
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        report, grown = process.submit(archive_and_read, ledger_url, folder, session).result(240)
    assert (report.archives, report.messages) == (100, 99_998)
    assert grown < 32 * 2**20, "holding all of them takes 60 MB"
    assert len(library.read(session)) == 100_000
    assert library.hot(session) == [99_999, 100_000]
