"""Whatever fails, nothing is lost and nothing is twice: messages stay hot until their archive is known to be whole."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.archive.archiver import Archiver
from pipeline.archive.storage import Folder
from pipeline.archive.summary import Extractive
from pipeline.errors import StorageFailed
from pipeline.metrics import ARCHIVE_FAULTS
from pipeline.schemas import Message
from pipeline.store import archives
from pipeline.store.archives import take
from pipeline.store.database import Database
from tests.archive.conftest import MakeArchiver
from tests.archive.library import RULES, Library
from tests.store.desk import Sql

#: A folder that not even root may make.
DENIED = Path("/sys/archives")


class Killed(BaseException):
    """The process dies here: nobody catches it."""


class Dying(Folder):
    """A folder whose user is killed before or after it has put an object, or before it has read it back."""

    def __init__(self, folder: Path, moment: str) -> None:
        super().__init__(folder)
        self.moment = moment

    def put(self, name: str, data: bytes) -> None:
        if self.moment == "before put":
            raise Killed
        if self.moment == "within put":
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data[:10])
            raise Killed
        super().put(name, data)
        if self.moment == "after put":
            raise Killed

    def get(self, name: str) -> bytes:
        found = super().get(name)
        if self.moment == "after get":
            raise Killed
        return found


@pytest.mark.parametrize("moment", ["before put", "within put", "after put", "after get"])
def test_killed_at_any_step_the_next_one_finishes_under_the_same_name(
    make_archiver: MakeArchiver, library: Library, folder: Path, moment: str
) -> None:
    session = library.converse(4)
    before = library.read(session)
    with pytest.raises(Killed):
        make_archiver(storage=Dying(folder, moment)).archive([session])
    assert library.read(session) == before
    assert library.statuses(session) == ["pending"]
    library.converse(2)  # the conversation goes on
    survivor = make_archiver()
    assert survivor.archive([session]).archives == 0  # the dead one's hold is not over
    library.wait_over()
    assert survivor.archive([session]).archives == 1
    assert len(list(folder.iterdir())) == 1
    assert library.read(session)[:8] == before
    library.assert_whole(session)


def test_two_that_write_the_same_archive_write_it_once(make_archiver: MakeArchiver, library: Library) -> None:
    session = library.converse(4)

    class Slow(Extractive):
        """While it works its hold ends, and another takes over."""

        def sum_up(self, old: str | None, messages: object) -> tuple[str, str]:
            library.wait_over()
            assert make_archiver().archive([session]).archives == 1
            return super().sum_up(old, messages)  # type: ignore[arg-type]  # as it was given

    report = make_archiver(summariser=Slow()).archive([session])
    assert (report.archives, report.failed) == (0, 0)
    library.assert_whole(session)


def test_one_that_was_erased_meanwhile_is_left(make_archiver: MakeArchiver, library: Library, sql: Sql) -> None:
    session = library.converse(4)

    class Erased(Extractive):
        """While it works somebody erases the session."""

        def sum_up(self, old: str | None, messages: object) -> tuple[str, str]:
            for table in ("archives", "messages"):
                sql.execute(f"DELETE FROM {table}")
            return super().sum_up(old, messages)  # type: ignore[arg-type]  # as it was given

    report = make_archiver(summariser=Erased()).archive([session])
    assert (report.archives, report.failed) == (0, 0)
    assert sql.execute("SELECT count(*) FROM summaries").fetchall() == [(0,)]


def test_what_is_not_read_back_as_it_was_written_does_not_become_live(
    make_archiver: MakeArchiver, library: Library, folder: Path
) -> None:
    class Forgetful(Folder):
        """It loses a byte."""

        def get(self, name: str) -> bytes:
            return super().get(name)[:-1]

    session = library.converse(4)
    assert make_archiver(storage=Forgetful(folder)).archive([session]).failed == 1
    assert library.hot(session) == list(range(1, 9))


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond a megabyte, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def failing(archiver: Archiver, session: int, library: Library) -> None:
    """What is to hold whenever storage fails."""
    report = archiver.archive([session])
    assert (report.archives, report.failed) == (0, 1)
    assert library.hot(session) == list(range(1, 9))


def test_storage_that_is_full_keeps_messages_hot(
    make_archiver: MakeArchiver, library: Library, full_disk: None
) -> None:
    failing(make_archiver(compression="none"), library.fill(8, size=400_000), library)


@pytest.mark.skipif(not DENIED.parent.exists(), reason="root can only be denied what the kernel keeps")
def test_storage_that_is_denied_keeps_messages_hot(make_archiver: MakeArchiver, library: Library) -> None:
    failing(make_archiver(storage=Folder(DENIED)), library.converse(4), library)


def test_a_failure_is_counted_shown_and_tried_again_with_backoff(
    archiver: Archiver, library: Library, folder: Path, sql: Sql
) -> None:
    folder.write_text("not a folder")
    session = library.converse(4)
    counted = ARCHIVE_FAULTS.labels("FileExistsError")
    before = counted._value.get()
    delays = []
    for failures in (1, 2, 3):
        failing(archiver, session, library)
        row = sql.execute("SELECT failures, error, extract(epoch FROM next_try_at - now())::float8 FROM archives")
        (number, error, delay) = row.fetchone() or (0, "", 0.0)
        assert (number, error) == (failures, "FileExistsError")
        delays.append(delay)
        assert archives.due(library.database, RULES, most=10) == []
        library.wait_over()
    assert counted._value.get() == before + 3
    assert [round(delay / 30) for delay in delays] == [1, 2, 4]
    folder.unlink()
    assert archives.due(library.database, RULES, most=10) == [session]
    assert archiver.archive([session]).archives == 1
    library.assert_whole(session)


def test_one_that_fails_does_not_keep_the_others(make_archiver: MakeArchiver, library: Library, folder: Path) -> None:
    class Partly(Folder):
        """One conversation's objects are refused."""

        def put(self, name: str, data: bytes) -> None:
            if "_c3_" in name:
                raise StorageFailed("put", "PermissionDeniedError")
            super().put(name, data)

    sessions = [library.fill(8, conversation=f"c{number}") for number in range(8)]
    report = make_archiver(storage=Partly(folder)).archive(sessions)
    assert (report.archives, report.failed) == (7, 1)


def test_slow_storage_holds_no_lock(make_archiver: MakeArchiver, library: Library, folder: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    class Slow(Folder):
        """It takes its time."""

        def put(self, name: str, data: bytes) -> None:
            reached.set()
            assert go_on.wait(60)
            super().put(name, data)

    session, other = library.converse(4), library.fill(8, conversation="other")
    thread = threading.Thread(target=lambda: make_archiver(storage=Slow(folder)).archive([session]))
    thread.start()
    assert reached.wait(60)
    library.converse(1)
    assert make_archiver().archive([session, other]).archives == 1
    go_on.set()
    thread.join(30)
    library.assert_whole(session)
    library.assert_whole(other)


def test_a_session_that_is_held_waits_without_holding_others(
    archiver: Archiver, library: Library, sql: Sql, ledger_url: str
) -> None:
    import psycopg

    session, other = library.converse(4), library.fill(8, conversation="other")
    with psycopg.connect(ledger_url) as holder:
        holder.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [session])
        assert archiver.archive([session, other]).archives == 1
    assert archiver.archive([session]).archives == 1


def test_a_dead_worker_holds_its_session_for_a_while_only(library: Library, store: Database) -> None:
    session = library.converse(4)
    (candidate,) = archives.candidates(store, [session])
    took: Callable[[float], int] = lambda hold: len(take(store, [(candidate, "x")], RULES, hold=hold))  # noqa: E731
    assert [took(0), took(600), took(600)] == [1, 1, 0]


def test_what_an_archive_takes_in_memory_is_known_with_all_that_its_messages_carry(
    library: Library, store: Database
) -> None:
    found = Message("tool", "found", tool_call_id="1", metadata={"much": "x" * 100_000})
    session = library.converse(4, Message("assistant", "", tool_calls=({"id": "1", "args": "y" * 50_000},)), found)
    (candidate,) = archives.candidates(store, [session])
    (pending,) = take(store, [(candidate, "x")], RULES)
    real = len(archives.histories(store, [pending])[pending.id] or "")
    assert 0.8 * real < pending.size < 1.2 * real
