"""Waiting for the answer: what comes back, and how it is found without the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from pipeline import (
    Client,
    Handle,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    Status,
    Usage,
    WaitTimeout,
    metrics,
)
from pipeline.schemas import Call
from pipeline.store.database import Database
from pipeline.store.ledger import Outcome, outcomes
from tests.servers import eventually
from tests.store.desk import Desk, answered, ending

NOW = datetime(2026, 5, 4, tzinfo=UTC)
CALL = Call("first", "big", NOW, NOW, NOW, 200, usage=Usage(10, 4))


def ask(client: Client, n: int = 0, **options: Any) -> Handle:
    return client.submit("Hello.", **{"user_id": f"u{n}", "conversation_id": "thesis", **options})


def ends(desk: Desk, handle: Handle, status: Status, reason: str | None = None) -> None:
    desk.end(ending(desk.claim_one(UUID(handle.id)), status, reason=reason))


def test_the_answer_has_all_that_was_promised(client: Client, desk: Desk) -> None:
    handle = ask(client)
    desk.end(answered(desk.claim_one(UUID(handle.id)), "Knuth.", calls=(CALL,)))
    answer = handle.result(timeout=60)
    assert (answer.text, answer.provider, answer.model, answer.attempts) == ("Knuth.", "first", "big", 1)
    assert answer.usage == Usage(10, 4)
    assert answer.timings.total >= answer.timings.queued >= 0
    assert handle.status() == Status.succeeded


def test_what_failed_raises_with_its_reason(client: Client, desk: Desk) -> None:
    ends(desk, handle := ask(client), Status.failed, "http_4xx")
    with pytest.raises(RequestFailed) as failed:
        handle.result(timeout=60)
    assert (failed.value.request_id, failed.value.reason, failed.value.attempts) == (handle.id, "http_4xx", 1)


def test_what_expired_raises_that(client: Client, desk: Desk) -> None:
    ends(desk, handle := ask(client), Status.expired)
    with pytest.raises(RequestExpired):
        handle.result(timeout=60)


def test_what_was_cancelled_raises_that_and_stays_so(client: Client, desk: Desk) -> None:
    handle = ask(client)
    claimed = desk.claim_one(UUID(handle.id))
    assert handle.cancel() is True
    assert handle.cancel() is False
    assert desk.end(answered(claimed)).ids == set()
    with pytest.raises(RequestCancelled):
        handle.result(timeout=60)
    assert handle.status() == Status.cancelled


def test_what_has_an_answer_is_not_cancelled(client: Client, desk: Desk) -> None:
    handle = ask(client)
    desk.end(answered(desk.claim_one(UUID(handle.id))))
    assert handle.cancel() is False
    assert handle.status() == Status.succeeded


def test_to_wait_is_given_up_in_time_and_can_begin_again(client: Client, desk: Desk) -> None:
    handle = ask(client)
    started = time.monotonic()
    with pytest.raises(WaitTimeout) as late:
        handle.result(timeout=0.1)
    assert time.monotonic() - started < 5
    assert (late.value.request_id, late.value.timeout) == (handle.id, 0.1)
    desk.end(answered(desk.claim_one(UUID(handle.id))))
    assert handle.result(timeout=60).text == "Knuth."


def test_without_a_broker_the_answer_is_looked_up(client: Client, desk: Desk) -> None:
    handle = ask(client)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(handle.result, 10)
        eventually(lambda: client._waiting._waiting)
        desk.end(answered(desk.claim_one(UUID(handle.id))))
        assert answer.result(60).text == "Knuth."


def test_one_answer_after_the_other_is_looked_up(client: Client, desk: Desk) -> None:
    for n in range(3):
        handle = ask(client, n)
        desk.end(answered(desk.claim_one(UUID(handle.id))))
        assert handle.result(timeout=60).text == "Knuth."


def test_a_look_that_fails_as_nobody_foresaw_is_counted_and_the_next_one_finds_the_answer(
    client: Client, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def fail_at_first(database: Database, ids: Sequence[UUID]) -> list[Outcome]:
        looked.append(len(ids))
        if len(looked) == 1:
            raise LookupError("nobody foresaw it")
        return outcomes(database, ids)

    monkeypatch.setattr("pipeline.client.waiting.outcomes", fail_at_first)
    faults = metrics.THREAD_FAULTS.labels("waiting")
    before = faults._value.get()
    handle = ask(client)
    desk.end(answered(desk.claim_one(UUID(handle.id))))
    assert handle.result(timeout=60).text == "Knuth."
    assert faults._value.get() == before + 1


def test_a_thousand_waiters_cost_few_queries(client: Client, desk: Desk, looks: list[int]) -> None:
    requests = [{"text": "Hello.", "user_id": f"u{n}", "conversation_id": "c"} for n in range(1000)]
    handles = [one for one in client.submit_many(requests) if isinstance(one, Handle)]
    futures = [handle._future() for handle in handles]
    claims = desk.claim(*(UUID(handle.id) for handle in handles))
    desk.end(*(answered(one) for one in claims))
    started, before = time.monotonic(), len(looks)
    assert {future.result(60).text for future in futures} == {"Knuth."}
    seconds = time.monotonic() - started
    assert len(handles) == 1000
    # two for each look over all of them, one look each `outcome_poll`
    assert len(looks) - before <= 2 * (2 + seconds / 0.2)


def test_asyncio_code_waits_and_gives_up_as_well(client: Client, desk: Desk) -> None:
    async def use() -> str:
        handle = await client.asubmit("Hello.", user_id="ada", conversation_id="thesis")
        with pytest.raises(WaitTimeout):
            await handle.aresult(timeout=0.1)
        waiting_for_it = asyncio.create_task(handle.aresult(timeout=60))
        await client.in_thread(lambda: desk.end(answered(desk.claim_one(UUID(handle.id)))))
        assert await handle.acancel() is False
        return (await waiting_for_it).text

    assert asyncio.run(use()) == "Knuth."


def test_asyncio_code_cancels(client: Client) -> None:
    async def use() -> None:
        handle = await client.asubmit("Hello.", user_id="ada", conversation_id="thesis")
        assert await handle.acancel() is True
        with pytest.raises(RequestCancelled):
            await handle.aresult(timeout=60)
        assert await handle.astatus() == Status.cancelled

    asyncio.run(use())
