"""Submitting: what is accepted, and what an idempotency key does."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from pipeline import (
    Client,
    Handle,
    IdempotencyConflict,
    InvalidRequest,
    LedgerUnavailable,
    RequestNotFound,
    SessionBusy,
    Status,
)
from pipeline.store.database import Database
from tests.client.conftest import Connect, settings
from tests.servers import Broker
from tests.store.desk import Sql, count, violations

LONGEST = "🙂" * 255

#: At the edge of what is allowed.
GOOD: dict[str, dict[str, Any]] = {
    "the longest text": {"text": "x" * 1024 * 1024},
    "the longest text in other letters": {"text": "é" * (512 * 1024)},
    "text of control characters": {"text": "\x01\x1b\r\n\u2028\ufffe"},
    "one character": {"text": "?", "user_id": "a", "conversation_id": "c", "idempotency_key": "k"},
    "the longest ids": {"user_id": LONGEST, "conversation_id": LONGEST, "idempotency_key": LONGEST},
    "ids with odd characters": {"user_id": "'; -- \n\\", "conversation_id": "{\"a\": %s}", "idempotency_key": "{,}\""},
    "a deadline in seconds": {"deadline": 0.5},
    "a deadline far away": {"deadline": 86400 * 30},
    "a deadline as a time": {"deadline": datetime.now(UTC) + timedelta(days=1)},
    "every option": {"agent": "chat", "priority": "urgent", "timeout": 5, "max_attempts": 100, "on_busy": "queue"},
    "metadata": {"metadata": {"🙂": [None, True, 1.5, 10**30, {"deep": {}}], "quote": "\"'\\"}},
    "the largest metadata": {"metadata": {"a": "x" * (65536 - 9)}},
}  # fmt: skip


def ask(client: Client, text: str = "Hello.", **options: Any) -> Handle:
    return client.submit(text, **{"user_id": "ada", "conversation_id": "thesis", **options})


@pytest.mark.parametrize("options", GOOD.values(), ids=GOOD.keys())
def test_what_is_at_the_edge_is_accepted_and_kept_as_it_is(client: Client, sql: Sql, options: dict[str, Any]) -> None:
    given = {"text": "Hello.", "user_id": "ada", "conversation_id": "thesis", **options}
    handle = client.submit(**given)
    stored = sql.execute(
        "SELECT r.text, r.user_id, s.conversation_id, r.metadata, r.idempotency_key "
        "FROM requests AS r JOIN sessions AS s ON s.id = r.session_id WHERE r.id = %s",
        [handle.id],
    ).fetchone()
    assert stored == (
        given["text"], given["user_id"], given["conversation_id"], given.get("metadata", {}),
        given.get("idempotency_key"),
    )  # fmt: skip


def test_metadata_may_hold_the_words_for_nul(client: Client) -> None:
    ask(client, metadata={"pattern": r"\u0000"})


def test_a_handle_tells_where_its_request_stands(client: Client) -> None:
    handle = ask(client)
    assert handle.status() == Status.queued
    assert handle.id in repr(handle)


def test_a_request_is_found_again_by_its_id(client: Client, connect: Connect) -> None:
    handle = ask(client)
    found = connect().get(handle.id)
    assert (found.id, found.status()) == (handle.id, Status.queued)


@pytest.mark.parametrize("unknown", ["00000000-0000-0000-0000-000000000000", "no id at all", ""])
def test_an_unknown_id_is_not_found(client: Client, unknown: str) -> None:
    with pytest.raises(RequestNotFound) as missing:
        client.get(unknown)
    assert missing.value.request_id == unknown


# -- many at once -----------------------------------------------------------------------------------------------------


def test_of_many_each_gets_its_handle_or_its_refusal(client: Client, sql: Sql) -> None:
    usual = {"text": "Hello.", "user_id": "ada", "conversation_id": "thesis"}
    results = client.submit_many([
        usual, {**usual, "text": ""}, {**usual, "idempotency_key": "k"}, {**usual, "idempotency_key": "k"},
        {**usual, "text": "Other.", "idempotency_key": "k"}, {"text": "Hello."}, {**usual, "colour": "red"}, usual,
    ])  # fmt: skip
    assert [type(one) for one in results] == [
        Handle, InvalidRequest, Handle, Handle, IdempotencyConflict, InvalidRequest, InvalidRequest, Handle
    ]  # fmt: skip
    handles = [one.id if isinstance(one, Handle) else None for one in results]
    assert handles[2] == handles[3]
    assert len(set(handles)) == 4
    assert "submit()" in str(results[5])
    assert "user_id" in str(results[5])
    assert "colour" in str(results[6])
    assert count(sql, "requests") == 3
    order = sql.execute("SELECT id FROM requests ORDER BY position").fetchall()
    assert [str(id_) for (id_,) in order] == [handles[0], handles[2], handles[7]]


def test_many_are_accepted_in_their_order(client: Client, sql: Sql) -> None:
    requests = [{"text": f"{n}", "user_id": f"u{n % 7}", "conversation_id": "c"} for n in range(1200)]
    handles = client.submit_many(requests)
    assert all(isinstance(one, Handle) for one in handles)
    order = sql.execute("SELECT text FROM requests WHERE user_id = 'u3' ORDER BY position").fetchall()
    assert [text for (text,) in order] == [str(n) for n in range(3, 1200, 7)]
    assert violations(sql) == []


def test_none_are_accepted_as_easily(client: Client) -> None:
    assert client.submit_many([]) == []


def test_fifty_threads_that_submit_share_statements_and_lose_nothing(client: Client, sql: Sql) -> None:
    with ThreadPoolExecutor(50) as threads:
        ids = {one.id for one in threads.map(lambda n: ask(client, str(n)), range(100))}
    assert len(ids) == count(sql, "requests") == 100
    assert violations(sql) == []


def test_a_request_that_postgres_refuses_does_not_harm_its_neighbours(client: Client) -> None:
    def submit(n: int) -> Handle | Exception:
        try:
            return ask(client, conversation_id=f"c{n}", deadline=1e15 if n == 0 else 60)
        except Exception as refusal:  # noqa: BLE001 - all kinds count
            return refusal

    with ThreadPoolExecutor(20) as threads:
        results = list(threads.map(submit, range(20)))
    assert isinstance(results[0], InvalidRequest)
    assert all(isinstance(one, Handle) for one in results[1:])


# -- busy sessions ----------------------------------------------------------------------------------------------------


def test_who_will_not_wait_is_refused_by_a_busy_session_and_told_what_else_to_do(client: Client, sql: Sql) -> None:
    assert isinstance(ask(client, on_busy="reject"), Handle)
    with pytest.raises(SessionBusy, match="on_busy='queue' or 'interrupt'") as busy:
        ask(client, on_busy="reject")
    assert (busy.value.user_id, busy.value.conversation_id) == ("ada", "thesis")
    usual = {"text": "Hello.", "user_id": "ada", "conversation_id": "thesis"}
    many = client.submit_many([{**usual, "on_busy": "reject"}, usual, {**usual, "on_busy": "interrupt"}])
    assert [type(one) for one in many] == [SessionBusy, Handle, Handle]
    assert count(sql, "requests") == 3
    assert violations(sql) == []


# -- idempotency keys -------------------------------------------------------------------------------------------------


def test_the_same_key_and_content_lead_to_the_same_request(client: Client, connect: Connect, sql: Sql) -> None:
    first = ask(client, idempotency_key="k", metadata={"a": 1, "b": 2})
    again = ask(connect(), idempotency_key="k", metadata={"b": 2, "a": 1}, priority="urgent", deadline=9)
    assert again.id == first.id
    assert count(sql, "requests") == 1


@pytest.mark.parametrize("other", [{"text": "Other."}, {"conversation_id": "other"}, {"metadata": {"a": 1}}], ids=str)
def test_the_same_key_with_other_content_is_a_conflict(client: Client, sql: Sql, other: dict[str, Any]) -> None:
    first = ask(client, idempotency_key="k")
    with pytest.raises(IdempotencyConflict) as conflict:
        ask(client, **{"idempotency_key": "k", **other})
    assert (conflict.value.key, conflict.value.request_id) == ("k", first.id)
    assert count(sql, "requests") == 1


def test_a_keys_scope_is_the_user(client: Client) -> None:
    assert ask(client, idempotency_key="k").id != ask(client, user_id="bob", idempotency_key="k").id


# -- servers that are away --------------------------------------------------------------------------------------------


def test_without_a_broker_a_submission_is_accepted_and_quick(client: Client, sql: Sql) -> None:
    ask(client)  # the first one gives the broker half a second to be there
    started = time.monotonic()
    for _ in range(10):
        ask(client)
    assert time.monotonic() - started < 4  # not half a second each
    assert count(sql, "requests") == 11


def test_with_a_frozen_broker_a_submission_returns_within_six_seconds(connect: Connect, broker: Broker) -> None:
    client = connect(broker.url, broker_timeout=2)
    ask(client)
    broker.freeze()
    started = time.monotonic()
    ask(client, user_id="bob")
    assert time.monotonic() - started < 6
    broker.thaw()


def test_without_postgres_a_submission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "patiently", partialmethod(Database.patiently, seconds=0.1))  # not its five
    with Client(settings(f"postgresql://pipeline@/pipeline?host={tmp_path}")) as client:
        client._database._wait = 0.1
        with pytest.raises(LedgerUnavailable):
            ask(client)


def test_connections_that_broke_meanwhile_are_made_anew(client: Client, sql: Sql) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: client.get(ask(client, str(n)).id), range(16)))
    sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: ask(client, str(n)), range(16)))
    assert count(sql, "requests") == 32
    assert violations(sql) == []


def test_asyncio_code_submits_and_finds_again(client: Client) -> None:
    async def use() -> tuple[str, str, Status, int]:
        handle = await client.asubmit("Hello.", user_id="ada", conversation_id="thesis")
        many = await client.asubmit_many([{"text": "Hello.", "user_id": "ada", "conversation_id": "thesis"}] * 3)
        found = await client.aget(handle.id)
        with pytest.raises(InvalidRequest):
            await client.asubmit("", user_id="ada", conversation_id="thesis")
        return handle.id, found.id, await found.astatus(), len(many)

    first, found, status, many = asyncio.run(use())
    assert (first, status, many) == (found, Status.queued, 3)
