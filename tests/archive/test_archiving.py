"""Archiving: the oldest messages go to cold storage, and only then leave Postgres."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.archive.archiver import Archiver
from pipeline.archive.summary import Extractive
from pipeline.schemas import Message
from pipeline.store.archives import records
from pipeline.store.ledger import Claim
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library
from tests.store.desk import Sql


def test_what_is_archived_is_what_was_hot(archiver: Archiver, library: Library) -> None:
    session = library.converse(4)
    before = library.read(session)
    report = archiver.archive([session])
    assert (report.archives, report.messages, report.failed) == (1, 6, 0)
    assert library.hot(session) == [7, 8]
    assert library.read(session) == before
    library.assert_whole(session)


def test_a_session_that_is_not_due_stays(archiver: Archiver, library: Library) -> None:
    session = library.converse(2)
    assert archiver.archive([session]).archives == 0
    assert library.hot(session) == [1, 2, 3, 4]


def test_by_force_one_is_archived_that_is_not_due(archiver: Archiver, library: Library) -> None:
    session = library.converse(2)
    archiver.archive([session], force=True)
    assert library.hot(session) == [3, 4]
    archiver.archive([session], force=True, whole=True)
    assert library.hot(session) == []
    library.assert_whole(session)


def test_a_tool_call_stays_with_its_result(
    archiver: Archiver, library: Library, tool_turn: tuple[Message, Message]
) -> None:
    session = library.converse(2, *tool_turn)
    archiver.archive([session])
    assert library.hot(session) == [5, 6, 7, 8]
    assert library.read(session)[1].tool_calls == ({"id": "1", "type": "function"},)
    assert library.read(session)[2].metadata == {"source": "Knuth"}


def test_one_turn_alone_has_nothing_that_could_go(
    archiver: Archiver, library: Library, sql: Sql, tool_turn: tuple[Message, Message]
) -> None:
    session = library.converse(1, *tool_turn * 4)
    assert archiver.archive([session]).archives == 0
    assert len(library.hot(session)) == 10
    assert sql.execute("SELECT grown_at FROM sessions").fetchall() == [(None,)]  # the sweep need not come again


def test_the_document_tells_of_itself(archiver: Archiver, library: Library) -> None:
    session = library.converse(4)
    archiver.archive([session])
    (document,) = library.documents(session)
    assert (document.user_id, document.conversation_id, document.message_count) == ("ada", "thesis", 6)
    assert document.session_info["archived_message_count"] == 6
    assert document.session_info["token_count"] == sum((len(one.content) + 3) // 4 for one in document.messages)
    assert document.session_info["duration_seconds"] > 0
    assert document.archived_at == library.live(session)[0].archived_at
    assert set(document.history[0]) == {
        "number", "role", "content", "created_at", "request_id", "part", "tool_calls", "tool_call_id", "metadata",
    }  # fmt: skip


def test_the_row_tells_where_it_is(archiver: Archiver, library: Library, folder: Path, sql: Sql) -> None:
    session = library.converse(4)
    archiver.archive([session])
    (row,) = sql.execute(
        "SELECT name, sha256, bytes, message_count, first_number, last_number FROM archives"
    ).fetchall()
    (file,) = folder.iterdir()
    data = file.read_bytes()
    assert row == (file.name, hashlib.sha256(data).digest(), len(data), 6, 1, 6)
    assert file.name.startswith("ada_thesis_2")
    assert file.name.endswith(".json.zst")


def test_by_setting_the_object_is_plain_json(make_archiver: MakeArchiver, library: Library, folder: Path) -> None:
    session = library.converse(4)
    make_archiver(compression="none").archive([session])
    (file,) = folder.iterdir()
    assert file.name.endswith("Z.json")
    assert file.read_bytes().startswith(b'{"schema_version": 1, "user_id": "ada"')
    library.assert_whole(session)


def test_a_long_run_becomes_several_objects_of_whole_turns(make_archiver: MakeArchiver, library: Library) -> None:
    session = library.fill(50)
    make_archiver(most_messages=15).archive([session])
    assert [one.message_count for one in library.documents(session)] == [14, 14, 14, 6]
    assert library.hot(session) == [49, 50]
    assert library.standing().archived_through == 48
    library.assert_whole(session)


def test_no_object_is_larger_than_allowed(make_archiver: MakeArchiver, library: Library, folder: Path) -> None:
    session = library.fill(20, size=10_000)
    make_archiver(most_bytes=45_000, compression="none").archive([session])
    sizes = [file.stat().st_size for file in folder.iterdir()]
    assert len(sizes) > 3
    assert max(sizes) <= 45_000 + records.HEAD_BYTES
    library.assert_whole(session)


def test_what_json_has_to_escape_counts_as_long_as_it_gets(
    make_archiver: MakeArchiver, library: Library, folder: Path, sql: Sql
) -> None:
    session = library.fill(20)
    sql.execute("UPDATE messages SET content = repeat(chr(1), 2000)")
    make_archiver(most_bytes=30_000, compression="none").archive([session])
    assert max(file.stat().st_size for file in folder.iterdir()) <= 30_000 + records.HEAD_BYTES


def test_a_message_larger_than_an_object_may_be_is_one_alone(make_archiver: MakeArchiver, library: Library) -> None:
    session = library.fill(8, size=5_000)
    make_archiver(most_bytes=1_000).archive([session])
    assert [one.message_count for one in library.documents(session)] == [1] * 6
    library.assert_whole(session)


def test_a_second_archive_begins_where_the_first_ended(archiver: Archiver, library: Library) -> None:
    session = library.converse(4)
    archiver.archive([session])
    library.converse(3)
    archiver.archive([session])
    assert [(one.first_number, one.last_number) for one in library.live(session)] == [(1, 6), (7, 12)]
    library.assert_whole(session)


def test_numbers_go_on_after_all_has_gone(archiver: Archiver, library: Library) -> None:
    session = library.converse(2)
    archiver.archive([session], force=True, whole=True)
    library.converse(1)
    assert library.hot(session) == [5, 6]
    library.assert_whole(session)


def test_many_workers_share_the_work_and_none_takes_a_session_twice(
    make_archiver: MakeArchiver, library: Library, sql: Sql, folder: Path
) -> None:
    sessions = [library.fill(12, conversation=f"c{number}") for number in range(60)]
    workers = [make_archiver() for _ in range(4)]
    reports = []
    threads = [threading.Thread(target=lambda one=one: reports.append(one.archive(sessions))) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(report.archives for report in reports) == len(sessions) == len(list(folder.iterdir()))
    assert sql.execute("SELECT count(*), count(DISTINCT session_id) FROM archives").fetchall() == [(60, 60)]
    for session in sessions:
        library.assert_whole(session)


def test_a_clock_that_was_set_back_gives_no_name_twice(
    archiver: Archiver, library: Library, sql: Sql, folder: Path
) -> None:
    session = library.converse(4)
    archiver.archive([session])
    ahead = datetime.now(UTC) + timedelta(days=3)
    sql.execute("UPDATE archives SET archived_at = %s", [ahead])
    library.converse(3)
    archiver.archive([session])
    assert len(list(folder.iterdir())) == 2
    assert library.live(session)[1].archived_at > ahead
    library.assert_whole(session)


def test_while_a_session_is_archived_it_goes_on(make_archiver: MakeArchiver, library: Library) -> None:
    session = library.converse(4)

    class Meanwhile(Extractive):
        """A summariser during whose work the conversation goes on: nothing is locked."""

        def sum_up(self, old: str | None, messages: Sequence[Message]) -> tuple[str, str]:
            library.converse(2)
            return super().sum_up(old, messages)

    make_archiver(summariser=Meanwhile()).archive([session])
    assert library.hot(session) == list(range(7, 13))
    library.assert_whole(session)


@pytest.mark.parametrize(("turns", "context"), [(3, [5, 6]), (2, [1, 2, 3, 4])])
def test_the_context_begins_with_the_summary(
    archiver: Archiver, library: Library, turns: int, context: list[int]
) -> None:
    session = library.converse(turns)
    archiver.archive([session])
    claimed: Claim = library.desk.running()
    told, rest = ([], claimed.context) if turns == 2 else (claimed.context[:1], claimed.context[1:])
    assert [one.number for one in rest] == context
    for one in told:
        assert one.role == "system"
        assert one.content.startswith("Summary of the conversation up to here (messages 1 to 4):\nuser: Question 1?")
