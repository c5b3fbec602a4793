"""A session's messages are numbered 1, 2, 3 … without gaps, whoever writes them: tried with raw SQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from tests.store.desk import Sql

#: What the triggers raise.
REFUSED = errors.IntegrityConstraintViolation


@pytest.fixture
def session(sql: Sql) -> int:
    return open_session(sql, "thesis")


def open_session(sql: Sql, conversation: str) -> int:
    sql.execute("INSERT INTO users (user_id) VALUES ('ada') ON CONFLICT DO NOTHING")
    made = sql.execute(
        "INSERT INTO sessions (user_id, conversation_id) VALUES ('ada', %s) RETURNING id", [conversation]
    ).fetchone()
    assert made is not None
    return int(made[0])


def append(sql: Sql, *places: tuple[int, int], request: UUID | None = None, role: str = "user") -> None:
    """Messages at (session, number), in one statement."""
    rows = [(session, number, request or uuid4(), part, role) for part, (session, number) in enumerate(places, 1)]
    sql.execute(
        "INSERT INTO messages (session_id, number, request_id, part, role, content) "
        "SELECT *, 'hello' FROM unnest(%s::bigint[], %s::bigint[], %s::uuid[], %s::smallint[], %s::text[])",
        [list(column) for column in zip(*rows, strict=True)],
    )


def numbers(sql: Sql, session: int) -> list[int]:
    found = sql.execute("SELECT number FROM messages WHERE session_id = %s ORDER BY 1", [session])
    return [number for (number,) in found]


def last_number(sql: Sql, session: int) -> int:
    found = sql.execute("SELECT last_number FROM sessions WHERE id = %s", [session]).fetchone()
    assert found is not None
    return int(found[0])


def test_messages_are_numbered_on_from_the_newest(sql: Sql, session: int) -> None:
    append(sql, (session, 1))
    append(sql, (session, 2), (session, 3))
    append(sql, (session, 5), (session, 4))
    assert numbers(sql, session) == [1, 2, 3, 4, 5]
    assert last_number(sql, session) == 5


@pytest.mark.parametrize("wrong", [[2], [1, 3], [2, 3], [0], [-1], [1, 2, 4, 5]], ids=str)
def test_the_first_ones_leave_no_gap(sql: Sql, session: int, wrong: Sequence[int]) -> None:
    with pytest.raises((REFUSED, errors.CheckViolation)):
        append(sql, *((session, number) for number in wrong))
    assert numbers(sql, session) == []
    assert last_number(sql, session) == 0


def test_a_later_one_leaves_no_gap(sql: Sql, session: int) -> None:
    append(sql, (session, 1), (session, 2))
    with pytest.raises(REFUSED, match="without a gap"):
        append(sql, (session, 4))


def test_a_number_is_not_used_again(sql: Sql, session: int) -> None:
    append(sql, (session, 1), (session, 2))
    for number in (1, 2):
        with pytest.raises(psycopg.IntegrityError):
            append(sql, (session, number))
    assert last_number(sql, session) == 2


def test_a_number_is_not_used_again_after_its_message_has_gone(sql: Sql, session: int) -> None:
    append(sql, (session, 1), (session, 2))
    sql.execute("DELETE FROM messages WHERE session_id = %s", [session])
    with pytest.raises(REFUSED):
        append(sql, (session, 1))
    append(sql, (session, 3))


def test_one_gap_refuses_all_that_the_statement_holds(sql: Sql, session: int) -> None:
    other = open_session(sql, "dinner")
    with pytest.raises(REFUSED):
        append(sql, (session, 1), (session, 2), (other, 2))
    assert (numbers(sql, session), numbers(sql, other)) == ([], [])
    append(sql, (session, 1), (session, 2), (other, 1))
    assert (last_number(sql, session), last_number(sql, other)) == (2, 1)


def test_of_two_writers_of_a_session_at_once_one_is_refused(ledger_url: str, sql: Sql, session: int) -> None:
    with psycopg.connect(ledger_url) as slow:
        append(slow, (session, 1))
        sql.execute("SET lock_timeout = '100ms'")
        with pytest.raises((errors.LockNotAvailable, errors.QueryCanceled)):
            append(sql, (session, 1))  # it waits for the other one
        slow.commit()
    with pytest.raises(psycopg.IntegrityError):
        append(sql, (session, 1))
    assert numbers(sql, session) == [1]


def test_a_request_has_one_set_of_messages(sql: Sql, session: int) -> None:
    request = uuid4()
    append(sql, (session, 1), (session, 2), request=request)
    with pytest.raises(errors.UniqueViolation, match="request_id_part"):
        append(sql, (session, 3), (session, 4), request=request)
    assert numbers(sql, session) == [1, 2]


def test_an_unknown_role_is_refused(sql: Sql, session: int) -> None:
    with pytest.raises(errors.CheckViolation, match="role_known"):
        append(sql, (session, 1), role="oracle")


@pytest.mark.parametrize(
    "change",
    ["number = number + 1", "number = -number", "request_id = gen_random_uuid()", "part = 9", "session_id = 0"],
)
def test_a_message_keeps_its_place(sql: Sql, session: int, change: str) -> None:
    append(sql, (session, 1))
    with pytest.raises(REFUSED, match="keeps its session, number, request and part"):
        sql.execute(f"UPDATE messages SET {change} WHERE number = 1")
    sql.execute("UPDATE messages SET content = 'erased', number = number WHERE number = 1")


@pytest.mark.parametrize("wrong", [[3], [5], [2, 3], [1, 3], [1, 2, 4]], ids=str)
def test_messages_do_not_leave_from_the_middle(sql: Sql, session: int, wrong: list[int]) -> None:
    append(sql, *((session, number) for number in range(1, 6)))
    with pytest.raises(REFUSED, match="oldest"):
        sql.execute("DELETE FROM messages WHERE session_id = %s AND number = ANY(%s)", [session, wrong])
    assert numbers(sql, session) == [1, 2, 3, 4, 5]


def test_messages_leave_from_the_oldest_end(sql: Sql, session: int) -> None:
    append(sql, *((session, number) for number in range(1, 6)))
    sql.execute("DELETE FROM messages WHERE session_id = %s AND number <= 2", [session])
    sql.execute("DELETE FROM messages WHERE session_id = %s AND number <= 3", [session])
    assert numbers(sql, session) == [4, 5]
    append(sql, (session, 6))
    assert last_number(sql, session) == 6
    sql.execute("DELETE FROM messages WHERE session_id = %s", [session])


def test_one_bad_deletion_keeps_all_that_the_statement_names(sql: Sql, session: int) -> None:
    other = open_session(sql, "dinner")
    append(sql, (session, 1), (session, 2), (other, 1), (other, 2))
    with pytest.raises(REFUSED):
        sql.execute("DELETE FROM messages WHERE (session_id, number) IN ((%s, 1), (%s, 2))", [session, other])
    assert (numbers(sql, session), numbers(sql, other)) == ([1, 2], [1, 2])
