"""Verify: what is missing, altered, incomplete or left over is named, and the rest is read all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.archive import reading
from pipeline.archive.archiver import Archiver
from pipeline.archive.storage import Folder
from pipeline.archive.verify import Finding, Verifier
from pipeline.errors import ArchiveDamaged, StorageFailed
from pipeline.store import archives, retention
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library
from tests.store.desk import Sql

Verify = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def verify(library: Library, storage: Folder) -> Verify:
    """`verify(fix=…)`: the findings as kind and object."""

    def look(*, fix: bool = False) -> list[tuple[str, str]]:
        found: list[Finding] = []
        verdict = Verifier(library.database, storage, found.append, fix=fix).verify()
        assert verdict.good == all(one.fixed for one in found)
        return [(one.kind, one.what) for one in found]

    return look


@pytest.fixture
def session(library: Library, archiver: Archiver) -> int:
    """One with three archives of two messages and more, and two hot ones."""
    for _ in range(3):
        archiver.archive([library.converse(2)], force=True)
    return library.standing().session_id


def test_what_is_whole_is_counted(library: Library, storage: Folder, session: int, archiver: Archiver) -> None:
    archiver.archive([library.converse(4, user="bob")])
    verdict = Verifier(library.database, storage, lambda _: pytest.fail("nothing is wrong")).verify()
    assert verdict.good
    assert (verdict.archives, verdict.messages, verdict.sessions) == (4, 16, 2)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("missing", lambda path: path.unlink()),
        ("damaged", lambda path: path.write_bytes(path.read_bytes()[:-10])),
        ("damaged", lambda path: path.write_bytes(b"")),
        ("damaged", lambda path: path.write_bytes(path.read_bytes()[:40] + b"!" + path.read_bytes()[41:])),
    ],
    ids=["removed", "truncated", "emptied", "altered"],
)
def test_a_damaged_archive_is_named_and_the_rest_can_be_read(
    verify: Verify, library: Library, session: int, kind: str, damage: Callable[[Path], None]
) -> None:
    before = library.read(session)
    first, second, third = library.live(session)
    assert isinstance(library.storage, Folder)
    damage(library.storage.folder / second.name)
    assert verify() == [(kind, second.name)]
    with pytest.raises(ArchiveDamaged, match=second.name):
        library.read(session)
    told: list[ArchiveDamaged] = []
    rest = list(reading.messages(library.database, library.storage, session, on_damage=told.append))
    assert [one.name for one in told] == [second.name]
    assert rest == [one for one in before if not second.first_number <= (one.number or 0) <= second.last_number]
    assert (first.status, third.status) == ("live", "live")


def test_an_archive_in_the_place_of_another_is_damaged(verify: Verify, library: Library, session: int) -> None:
    first, second, _ = library.live(session)
    library.storage.put(second.name, library.storage.get(first.name))
    assert verify() == [("damaged", second.name)]


@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM messages WHERE number = (SELECT max(number) FROM messages)",
        "DELETE FROM messages WHERE number = (SELECT min(number) FROM messages)",
        "DELETE FROM archives WHERE id = (SELECT max(id) FROM archives)",
        "DELETE FROM archives WHERE id = (SELECT min(id) FROM archives)",
        "UPDATE sessions SET archived_through = 2",
        "UPDATE sessions SET last_number = last_number + 1",
    ],
)
def test_a_conversation_that_lacks_a_number_is_named(
    verify: Verify, session: int, library: Library, sql: Sql, loss: str
) -> None:
    assert verify() == []
    for switch in ("DISABLE", "ENABLE"):
        for table in ("messages", "archives"):
            sql.execute(f"ALTER TABLE {table} {switch} TRIGGER USER")
        if switch == "DISABLE":
            sql.execute(loss.encode())
    assert ("incomplete", "'thesis' of 'ada'") in verify()
    del session, library


def test_a_conversation_whose_first_archives_expired_is_complete(
    verify: Verify, session: int, library: Library, sql: Sql
) -> None:
    sql.execute("UPDATE archives SET archived_at = now() - interval '9 days' WHERE first_number = 1")
    assert retention.expire_archives(library.database, age=86_400) == 1
    assert library.statuses(session) == ["expired", "live", "live"]
    assert verify() == []  # its object is known to be on its way out


def test_orphans_are_named_and_with_fix_removed(verify: Verify, session: int, library: Library) -> None:
    assert isinstance(library.storage, Folder)
    folder = library.storage.folder
    live = library.live(session)[0].name
    orphan = "ada_thesis_20200101T000000.000000Z.json.zst"
    for name in (orphan, f"{orphan}#1", f"{live}#1", "notes.txt"):
        (folder / name).write_bytes(b"{}")
    expected = [("orphan", name) for name in sorted([orphan, f"{orphan}#1", f"{live}#1"])]
    assert sorted(verify()) == expected
    assert sorted(verify(fix=True)) == expected
    assert verify() == []
    assert (folder / "notes.txt").exists()  # it is none of ours
    library.assert_whole(session)


def test_what_is_being_written_is_no_orphan(
    verify: Verify, library: Library, make_archiver: MakeArchiver, storage: Folder
) -> None:
    session = library.converse(4)

    class Dying(Folder):
        def get(self, name: str) -> bytes:  # noqa: ARG002 - as the other has it
            raise StorageFailed("get", "Gone")

    report = make_archiver(storage=Dying(storage.folder)).archive([session])
    assert report.failed == 1  # the object is there, its row pending
    (name,) = storage.names()
    (storage.folder / f"{name}#1").write_bytes(b"half")
    assert verify(fix=True) == []
    assert sorted(storage.names()) == [name, f"{name}#1"]


def test_what_was_restored_meanwhile_is_not_missing(verify: Verify, library: Library, session: int) -> None:
    newest = library.live(session)[-1]
    (document,) = (one for one in library.documents(session) if one.history[0]["number"] == newest.first_number)
    archives.restore(library.database, newest, document.history, grace=60)
    assert verify() == []
    library.storage.delete(newest.name)
    assert verify() == []


def test_what_is_restored_at_that_moment_is_not_missing(library: Library, session: int, storage: Folder) -> None:
    newest = library.live(session)[-1]
    history = library.documents(session)[-1].history

    class Restored(Folder):
        """Its newest archive is restored when it is about to be read."""

        def get(self, name: str) -> bytes:
            if name == newest.name:
                assert archives.restore(library.database, newest, history, grace=60)
                self.delete(name)
            return super().get(name)

    verdict = Verifier(library.database, Restored(storage.folder), lambda _: pytest.fail("nothing is wrong")).verify()
    assert (verdict.good, verdict.archives) == (True, 3)


def test_where_storage_is_away_it_says_so(library: Library, session: int, archiver: Archiver) -> None:
    for name in "abcdef":
        archiver.archive([library.converse(4, conversation=name)])
    assert isinstance(library.storage, Folder)
    folder = library.storage.folder
    folder.rename(folder.with_suffix(".away"))
    folder.write_text("this is no folder")
    with pytest.raises(StorageFailed):
        Verifier(library.database, Folder(folder), lambda _: None).verify()
    del session
