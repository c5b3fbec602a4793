"""The database itself keeps every number hot or in exactly one archive: each rule is tried with raw SQL."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from tests.archive.library import Library
from tests.store.desk import Sql

#: What the triggers raise.
REFUSED = errors.IntegrityConstraintViolation

MADE_LIVE = "status = 'live', live_at = now(), sha256 = '', bytes = 1"


@pytest.fixture
def session(library: Library) -> int:
    """Ten messages, all of them hot."""
    return library.fill(10)


def begin(sql: Sql, session: int, first: int, last: int, *, status: str = "pending", count: int | None = None) -> int:
    (made,) = sql.execute(
        "INSERT INTO archives (session_id, first_number, last_number, message_count, token_count, oldest_at, newest_at,"
        " name, status, archived_at, next_try_at) VALUES (%s, %s, %s, %s, 1, now(), now(), md5(random()::text), %s,"
        " now(), now()) RETURNING id",
        [session, first, last, last - first + 1 if count is None else count, status],
    ).fetchone() or (0,)
    return int(made)


def finish(sql: Sql, archive: int) -> None:
    sql.execute(f"UPDATE archives SET {MADE_LIVE} WHERE id = %s", [archive])


def through(sql: Sql) -> int:
    (found,) = sql.execute("SELECT archived_through FROM sessions").fetchone() or (None,)
    return int(found)


def leave(sql: Sql, last: int) -> None:
    sql.execute("DELETE FROM messages WHERE number <= %s", [last])


def restored(sql: Sql, archive: int) -> None:
    sql.execute("UPDATE archives SET status = 'restored' WHERE id = %s", [archive])


def insert(sql: Sql, session: int, first: int, last: int) -> None:
    sql.execute(
        "INSERT INTO messages (session_id, number, request_id, part, role, content)"
        " SELECT %s, n, gen_random_uuid(), 1, 'user', 'back' FROM generate_series(%s::bigint, %s::bigint) AS n",
        [session, first, last],
    )


def test_archived_through_moves_with_what_is_live(sql: Sql, session: int) -> None:
    first = begin(sql, session, 1, 4)
    assert through(sql) == 0
    finish(sql, first)
    assert through(sql) == 4
    finish(sql, begin(sql, session, 5, 6))
    assert through(sql) == 6


@pytest.mark.parametrize(("first", "last"), [(2, 4), (1, 11), (11, 12)])
def test_an_archive_begins_with_the_oldest_hot_message_and_ends_with_one(
    sql: Sql, session: int, first: int, last: int
) -> None:
    with pytest.raises(REFUSED, match="row of archives"):
        begin(sql, session, first, last)


def test_live_ranges_do_not_overlap(sql: Sql, session: int) -> None:
    finish(sql, begin(sql, session, 1, 4))
    for first, last in ((1, 4), (4, 6), (3, 3)):
        with pytest.raises(psycopg.IntegrityError):
            begin(sql, session, first, last)


def test_live_ranges_leave_no_gap(sql: Sql, session: int) -> None:
    finish(sql, begin(sql, session, 1, 4))
    with pytest.raises(REFUSED, match="row of archives"):
        begin(sql, session, 6, 8)


def test_a_session_has_one_pending_archive(sql: Sql, session: int) -> None:
    begin(sql, session, 1, 4)
    with pytest.raises(errors.UniqueViolation, match="uq_archives_pending"):
        begin(sql, session, 1, 2)


@pytest.mark.parametrize("status", ["live", "restored", "expired"])
def test_an_archive_begins_as_pending(sql: Sql, session: int, status: str) -> None:
    with pytest.raises((REFUSED, errors.CheckViolation)):
        begin(sql, session, 1, 4, status=status)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_it_counts_its_messages(sql: Sql, session: int, count: int) -> None:
    with pytest.raises(errors.CheckViolation, match="counted"):
        begin(sql, session, 1, 4, count=count)


def test_an_unknown_status_is_refused(sql: Sql, session: int) -> None:
    archive = begin(sql, session, 1, 4)
    with pytest.raises((REFUSED, errors.CheckViolation)):
        sql.execute("UPDATE archives SET status = 'lost' WHERE id = %s", [archive])


def test_live_comes_with_hash_size_and_time(sql: Sql, session: int) -> None:
    archive = begin(sql, session, 1, 4)
    with pytest.raises(errors.CheckViolation, match="live_means_written"):
        sql.execute("UPDATE archives SET status = 'live', live_at = now() WHERE id = %s", [archive])


@pytest.mark.parametrize(
    "change", ["first_number = 2, message_count = 3", "last_number = 3, message_count = 3", "name = 'x'"]
)
def test_an_archive_keeps_its_range_and_name(sql: Sql, session: int, change: str) -> None:
    archive = begin(sql, session, 1, 4)
    with pytest.raises(REFUSED, match="keeps its session, range and name"):
        sql.execute(f"UPDATE archives SET {change} WHERE id = %s", [archive])


def test_a_name_is_given_once(sql: Sql, session: int, library: Library) -> None:
    sql.execute("UPDATE archives SET name = 'x'")
    other = library.fill(4, conversation="other")
    insert_named = (
        "INSERT INTO archives (session_id, first_number, last_number, message_count, token_count, oldest_at, newest_at,"
        " name, archived_at, next_try_at) VALUES (%s, 1, 2, 2, 1, now(), now(), 'x', now(), now())"
    )
    sql.execute(insert_named, [session])
    with pytest.raises(errors.UniqueViolation, match="uq_archives_name"):
        sql.execute(insert_named, [other])


def test_the_newest_archive_returns_first(sql: Sql, session: int) -> None:
    first, second = begin(sql, session, 1, 4), 0
    finish(sql, first)
    second = begin(sql, session, 5, 6)
    with pytest.raises(REFUSED):  # none while another is being written
        restored(sql, first)
    finish(sql, second)
    with pytest.raises(REFUSED, match="row of archives"):
        restored(sql, first)
    restored(sql, second)
    assert through(sql) == 4
    restored(sql, first)
    assert through(sql) == 0


def test_the_oldest_archive_expires_first(sql: Sql, session: int) -> None:
    first = begin(sql, session, 1, 4)
    finish(sql, first)
    second = begin(sql, session, 5, 6)
    finish(sql, second)
    expire = "UPDATE archives SET status = 'expired' WHERE id = %s"
    with pytest.raises(REFUSED, match="row of archives"):
        sql.execute(expire, [second])
    sql.execute(expire, [first])
    sql.execute(expire, [second])
    assert through(sql) == 6


@pytest.mark.parametrize("status", ["pending", "live"])
def test_what_has_returned_or_expired_does_not_become_an_archive_again(sql: Sql, session: int, status: str) -> None:
    archive = begin(sql, session, 1, 4)
    finish(sql, archive)
    restored(sql, archive)
    with pytest.raises((REFUSED, errors.CheckViolation)):
        sql.execute("UPDATE archives SET status = %s WHERE id = %s", [status, archive])


def test_messages_return_to_fill_the_gap_and_only_so(sql: Sql, session: int) -> None:
    archive = begin(sql, session, 1, 4)
    finish(sql, archive)
    leave(sql, 4)
    for first, last in ((1, 4), (3, 4), (4, 4)):
        with pytest.raises(REFUSED, match="without a gap"):
            insert(sql, session, first, last)  # it is archived
    restored(sql, archive)
    for first, last in ((1, 3), (2, 4), (3, 4)):
        with pytest.raises(REFUSED, match="without a gap"):
            insert(sql, session, first, last)
    insert(sql, session, 1, 4)
    with pytest.raises(psycopg.IntegrityError):
        insert(sql, session, 1, 4)
    with pytest.raises(REFUSED, match="without a gap"):
        insert(sql, session, 12, 12)
    insert(sql, session, 11, 11)


def test_all_of_a_session_may_return(sql: Sql, session: int) -> None:
    archive = begin(sql, session, 1, 10)
    finish(sql, archive)
    leave(sql, 10)
    restored(sql, archive)
    with pytest.raises(REFUSED, match="without a gap"):
        insert(sql, session, 1, 9)
    insert(sql, session, 1, 10)


def test_nothing_is_archived_that_was_never_said(sql: Sql, session: int) -> None:
    for beyond in (-1, 11):
        with pytest.raises(errors.CheckViolation, match="archived_through_known"):
            sql.execute("UPDATE sessions SET archived_through = %s WHERE id = %s", [beyond, session])


@pytest.mark.parametrize(("first", "last"), [(0, 4), (5, 4)])
def test_a_summary_has_a_range(sql: Sql, session: int, first: int, last: int) -> None:
    with pytest.raises(errors.CheckViolation, match="summaries_range"):
        sql.execute("INSERT INTO summaries VALUES (%s, %s, %s, 'text', 'extractive', 1)", [session, first, last])
