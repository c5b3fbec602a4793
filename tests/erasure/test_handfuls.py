"""Many sessions of a user go a few at a time, so that twice as many take twice as long."""

from __future__ import annotations

import pytest

from pipeline.store import erasures
from pipeline.store.database import Database
from pipeline.store.erasures import Scope
from pipeline.store.erasures.handfuls import MESSAGES, SESSIONS
from tests.archive.library import Library
from tests.store.desk import count


def sizes(store: Database, sessions: list[int]) -> list[int]:
    return [len(handful) for handful in erasures.handfuls(store, sessions)]


def test_a_handful_is_bounded_and_none_is_empty(library: Library, store: Database) -> None:
    sessions = [library.fill(1, conversation=f"{number}") for number in range(2 * SESSIONS + 1)]
    assert sizes(store, sessions) == [SESSIONS, SESSIONS, 1]
    assert sizes(store, sessions[:SESSIONS]) == [SESSIONS]
    assert sizes(store, []) == []


@pytest.mark.parametrize(("messages", "wanted"), [((MESSAGES, 1, 1), [1, 2]), ((1, MESSAGES + 1, 1), [1, 1, 1])])
def test_a_session_with_much_to_erase_goes_alone(
    library: Library, store: Database, messages: tuple[int, ...], wanted: list[int]
) -> None:
    sessions = [library.fill(size, conversation=f"{number}") for number, size in enumerate(messages)]
    assert sizes(store, sessions) == wanted


def test_what_was_erased_is_in_no_handful_and_its_list_is_not_written_anew(library: Library, store: Database) -> None:
    sessions = [library.converse(1, conversation=name) for name in ("a", "b", "c")]
    id_ = erasures.begin(store, Scope("ada"))
    erasures.erase(store, id_, sessions[:2], streams_kept=600, concurrency=3)
    known = erasures.unfinished(store, id_)
    assert known is not None
    assert known.sessions == tuple(sessions)
    assert list(erasures.handfuls(store, known.sessions)) == [sessions[2:]]


def test_the_rows_are_not_called_gone_while_more_were_added(library: Library, store: Database) -> None:
    first = library.converse(1)
    id_ = erasures.begin(store, Scope("ada"))
    erasures.erase(store, id_, [first], streams_kept=600, concurrency=3)
    second = library.converse(1, conversation="later")
    assert erasures.begin(store, Scope("ada")) == id_
    erasures.rows_gone(store, id_, [first])
    known = erasures.unfinished(store, id_)
    assert known is not None
    assert known.sessions == (first, second)
    assert count(library.sql, "erasures WHERE stage = 'rows'") == 1
