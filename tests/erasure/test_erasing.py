"""Erasing: nothing of a conversation, or of a user, is left; of others everything is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pipeline import Client, InvalidRequest, RequestNotFound, metrics
from pipeline.archive.archiver import Archiver
from pipeline.errors import ReceiptNotFound
from pipeline.schemas import Call, Usage
from pipeline.store import invariants
from pipeline.store.database import Database
from pipeline.store.ledger import account
from tests.archive.library import Library
from tests.store.desk import Desk, Sql, answered, count, new, row

Objects = Callable[[], list[str]]

#: Tables with something of somebody in them, and the ones that tell of its end.
OF_USERS = ("users", "sessions", "requests", "attempts", "calls", "messages", "archives", "summaries")


def rows(sql: Sql) -> dict[str, int]:
    return {table: count(sql, table) for table in OF_USERS}


def call() -> Call:
    now = datetime.now(UTC)
    return Call("mistral", "large", now, now, now, 200, None, Usage(1, 1))


def test_nothing_of_a_conversation_is_left_and_the_receipt_counts_it(
    client: Client, library: Library, archiver: Archiver, objects: Objects
) -> None:
    archiver.archive([library.converse(4)])
    library.desk.end(answered(library.desk.running(), calls=(call(), call())))
    library.desk.accept(new(), new())
    library.desk.accept(new("bob"))
    before = rows(library.sql)
    assert len(objects()) == 1

    receipt = client.erase("ada", "thesis")
    assert receipt.complete
    assert (receipt.scope, receipt.sessions, receipt.archives, receipt.summaries) == ("session", 1, 1, 1)
    assert (receipt.messages, receipt.archived) == (10, 6)
    assert (receipt.requests, receipt.cancelled, receipt.attempts, receipt.calls) == (7, 2, 5, 2)
    assert objects() == []
    assert before["messages"] == 4
    # what is left is bob's, and the user's own row: more conversations may follow
    assert rows(library.sql) == {**dict.fromkeys(OF_USERS, 0), "users": 2, "sessions": 1, "requests": 1}
    assert client.receipt(receipt.id) == receipt
    assert invariants.check(client._database) == []


def test_an_erased_conversation_may_start_again_from_1(client: Client, library: Library, archiver: Archiver) -> None:
    archiver.archive([library.converse(4)])
    client.erase("ada", "thesis")
    assert list(client.history("ada", "thesis", include_archived=True)) == []
    session = library.converse(3)
    assert [one.number for one in client.history("ada", "thesis")] == [1, 2, 3, 4, 5, 6]
    archiver.archive([session])
    library.assert_whole(session)


def test_erasing_what_is_not_there_is_no_error(client: Client, library: Library) -> None:
    library.converse(1)
    first = client.erase("ada", "thesis")
    again = client.erase("ada", "thesis")
    assert again.complete
    assert (again.sessions, again.messages, again.requests) == (0, 0, 0)
    assert again.id != first.id
    assert client.erase("nobody").complete


def test_nothing_of_a_user_is_left_and_of_others_everything(
    client: Client, library: Library, archiver: Archiver, sql: Sql, objects: Objects
) -> None:
    sessions = [library.converse(4, conversation=name) for name in ("a", "b")]
    other = library.converse(4, user="bob")
    archiver.archive([*sessions, other])
    receipt = client.erase("ada")
    assert (receipt.scope, receipt.sessions, receipt.messages, receipt.complete) == ("user", 2, 16, True)
    assert sql.execute("SELECT user_id FROM users").fetchall() == [("bob",)]
    assert [name.partition("_")[0] for name in objects()] == ["bob"]
    library.assert_whole(other)


def test_a_user_without_conversations_is_forgotten(client: Client, library: Library, sql: Sql) -> None:
    library.converse(1)
    client.erase("ada", "thesis")
    assert count(sql, "users") == 1
    client.erase("ada")
    assert count(sql, "users") == 0


def test_a_receipt_tells_nothing_of_whom(client: Client, library: Library, sql: Sql) -> None:
    library.converse(1, user="ada@example.org", conversation="illness")
    client.erase("ada@example.org", "illness")
    client.erase("ada@example.org")
    found = sql.execute("SELECT e::text, user_hash FROM erasures AS e").fetchall()
    assert len(found) == 2
    assert not any(id_ in text for text, _ in found for id_ in ("ada@", "illness"))
    assert len({user_hash for _, user_hash in found}) == 2  # the same id: two hashes


def test_an_idempotency_key_is_free_again(client: Client) -> None:
    given = {"user_id": "ada", "conversation_id": "thesis", "idempotency_key": "mail-1"}
    first = client.submit("What did I cite?", **given)  # type: ignore[arg-type]  # mypy takes them for any argument
    client.erase("ada", "thesis")
    assert client.submit("Something else", **given).id != first.id  # type: ignore[arg-type]  # likewise


def test_who_waits_for_an_answer_is_told_that_there_will_be_none(client: Client) -> None:
    handle = client.submit("What did I cite?", user_id="ada", conversation_id="thesis")
    future = client.outcome(handle._uuid, handle._origin, handle._since)
    client.erase("ada")
    assert isinstance(future.exception(30), RequestNotFound)
    with pytest.raises(RequestNotFound):
        handle.result(30)
    with pytest.raises(RequestNotFound):
        list(handle.stream(30))
    with pytest.raises(RequestNotFound):
        handle.status()


def test_a_running_attempt_is_fenced_off(client: Client, desk: Desk, store: Database, sql: Sql) -> None:
    running = desk.running()
    client.erase("ada", "thesis")
    late = answered(running, calls=(call(),))
    assert desk.end(late).ids == frozenset()
    account(store, running.id, running.attempt, running.fence, late.calls)
    assert rows(sql) == {**dict.fromkeys(OF_USERS, 0), "users": 1}


def test_what_the_user_wants_elsewhere_takes_the_place_of_what_was_erased(client: Client, sql: Sql) -> None:
    for name in ("a", "b", "c"):
        client.submit("first", user_id="ada", conversation_id=name)
    waiting = client.submit("fourth", user_id="ada", conversation_id="d")
    assert row(sql, waiting._uuid, "published_at") == (None,)
    client.erase("ada", "b")
    assert row(sql, waiting._uuid, "published_at IS NOT NULL, publications") == (True, 1)
    assert client.redis.llen("normal") == 4


def test_streams_are_removed(client: Client, desk: Desk) -> None:
    one = desk.running()
    other = desk.running(conversation="other")
    for claimed in (one, other):
        client.redis.xadd(f"cite_agent:stream:{claimed.id}", {"f": 1, "o": 0, "c": b"sealed"})
    client.erase("ada", "thesis")
    assert client.redis.keys("cite_agent:stream:*") == [f"cite_agent:stream:{other.id}".encode()]


def refused_rewrites() -> float:
    """How often a broker would not write its files anew."""
    return float(metrics.ERASURE_FAULTS.labels("broker_files")._value.get())


def test_erasures_at_once_share_what_the_broker_does_for_them(client: Client, desk: Desk) -> None:
    before = refused_rewrites()
    for name in "abcdef":
        desk.running(user=name)
    with ThreadPoolExecutor(6) as threads:
        assert all(receipt.complete for receipt in threads.map(client.erase, "abcdef"))
    assert refused_rewrites() == before


def test_a_broker_that_may_not_be_told_to_write_its_files_anew_is_counted(client: Client, desk: Desk) -> None:
    before = refused_rewrites()
    desk.running()
    client.redis.execute_command("ACL", "SETUSER", "default", "-bgrewriteaof")  # type: ignore[no-untyped-call]  # redis-py gives it no types
    assert client.erase("ada").complete
    assert refused_rewrites() == before + 1


def test_keys_that_bear_the_users_id_are_removed(client: Client) -> None:
    for user in ("ada", "bob"):
        client.redis.set(f"cite_agent:rate:{user}", 1)
    client.erase("ada")
    assert client.redis.keys("cite_agent:rate:*") == [b"cite_agent:rate:bob"]


def test_messages_of_a_larger_session_are_all_erased(client: Client, library: Library, sql: Sql) -> None:
    library.fill(20_000)
    assert client.erase("ada").messages == 20_000
    assert count(sql, "messages") == 0


def test_it_can_be_asked_for_in_asyncio(client: Client, library: Library) -> None:
    library.converse(1)
    assert asyncio.run(client.aerase("ada", "thesis")).messages == 2


@pytest.mark.parametrize(
    ("user", "conversation", "field"), [("", None, "user_id"), ("ada", "a\0b", "conversation_id")], ids=["empty", "NUL"]
)
def test_an_id_that_cannot_be_is_refused(client: Client, user: str, conversation: str | None, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.erase(user, conversation)
    assert refused.value.field == field


@pytest.mark.parametrize("id_", ["nonsense", "019ab1c2-0000-7000-8000-000000000000"])
def test_a_receipt_that_is_not_there_is_named(client: Client, id_: str) -> None:
    with pytest.raises(ReceiptNotFound, match=id_):
        client.receipt(id_)
