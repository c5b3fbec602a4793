"""Reading a conversation back."""

from __future__ import annotations

from datetime import UTC

from pipeline import Client
from pipeline.schemas import Message
from pipeline.store import history
from tests.store.desk import Desk, Sql, answered


def test_a_conversation_is_read_back_oldest_first(client: Client, desk: Desk) -> None:
    called = Message("assistant", "", tool_calls=({"id": "1"},))
    claimed = desk.running()
    desk.end(answered(claimed, "It is 42.", called, Message("tool", "42", tool_call_id="1", metadata={"nul": True})))
    desk.converse(conversation="another")
    question, call, result, answer = client.history("ada", "thesis")
    assert [one.number for one in (question, call, result, answer)] == [1, 2, 3, 4]
    assert (question.role, question.content, question.request_id) == ("user", claimed.text, str(claimed.id))
    assert (call.tool_calls, call.tool_call_id, call.metadata) == (({"id": "1"},), None, {})
    assert (result.tool_calls, result.tool_call_id, result.metadata) == ((), "1", {"nul": True})
    assert answer.content == "It is 42."
    assert answer.created_at is not None
    assert answer.created_at.utcoffset() == UTC.utcoffset(None)


def test_a_long_one_is_read_page_by_page(client: Client, desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    length = 2 * history.PAGE + 1
    sql.execute(
        "INSERT INTO messages (session_id, number, request_id, part, role, content) "
        "SELECT %s, number, gen_random_uuid(), 1, 'user', number::text FROM generate_series(1, %s) AS number",
        [claimed.session_id, length],
    )
    messages = client.history("ada", "thesis")
    first = next(messages)
    sql.execute("DELETE FROM messages WHERE number = 1")  # nothing stays open between two pages
    assert [first.number, *(one.number for one in messages)] == list(range(1, length + 1))


def test_one_of_whole_pages_has_an_end(client: Client, desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    sql.execute(
        "INSERT INTO messages (session_id, number, request_id, part, role, content) "
        "SELECT %s, number, gen_random_uuid(), 1, 'user', 'x' FROM generate_series(1, %s) AS number",
        [claimed.session_id, history.PAGE],
    )
    assert len(list(client.history("ada", "thesis"))) == history.PAGE


def test_an_unknown_conversation_has_no_messages(client: Client) -> None:
    assert list(client.history("nobody", "nothing")) == []
    assert list(client.history("nobody", "nothing", include_archived=True)) == []
