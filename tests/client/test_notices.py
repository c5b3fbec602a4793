"""Waiting for the answer: told by the broker; and looked up in Postgres, when a notice was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import redis

from pipeline import (
    Client,
    Handle,
    WaitTimeout,
    notices,
)
from pipeline.store.ledger import Ended, Ending
from tests.client.conftest import Connect
from tests.servers import Broker, eventually, seconds_of
from tests.store.desk import Desk, answered

#: Seconds after which a lost notice would have been made good by a look; longer than any test waits.
NEVER = 600.0


class Told:
    """Ends requests as a worker does, and tells it, or keeps it to itself."""

    def __init__(self, desk: Desk, broker: Broker) -> None:
        self.desk = desk
        self.redis = redis.Redis.from_url(broker.url)

    def answer(self, handle: Handle, text: str = "Knuth.", *, tell: bool = True) -> None:
        self.end(answered(self.desk.claim_one(UUID(handle.id)), text), tell=tell)

    def end(self, wish: Ending, *, tell: bool = True) -> None:
        ended: Ended = self.desk.end(wish)
        if tell:
            channels = {
                notices.outcomes_channel(origin): [str(i) for i in ids] for origin, ids in ended.outcomes.items()
            }
            notices.publish(self.redis, channels)


@pytest.fixture
def told(desk: Desk, broker: Broker) -> Iterator[Told]:
    teller = Told(desk, broker)
    yield teller
    teller.redis.close()


@pytest.fixture
def listening(connect: Connect, broker: Broker) -> Client:
    """A client that is told of outcomes, and never looks by itself."""
    return connect(broker.url, outcome_poll=NEVER, broker_timeout=20)


def ask(client: Client, n: int = 0, **options: Any) -> Handle:
    return client.submit("Hello.", **{"user_id": f"u{n}", "conversation_id": "thesis", **options})


def test_a_notice_wakes_the_waiter(listening: Client, told: Told, looks: list[int]) -> None:
    handle = ask(listening)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(handle.result, 30)
        eventually(lambda: listening._waiting._waiting)
        told.answer(handle)
        assert answer.result(60).text == "Knuth."
    assert looks == [1]


def test_a_notice_that_came_before_the_waiter_counts(listening: Client, told: Told) -> None:
    handle = ask(listening)
    told.answer(handle)
    eventually(lambda: listening._waiting._told)
    assert handle.result(timeout=60).text == "Knuth."


def test_a_waiter_of_another_process_is_told_too(
    listening: Client, connect: Connect, broker: Broker, told: Told
) -> None:
    handle = ask(listening)
    elsewhere = connect(broker.url, outcome_poll=NEVER).get(handle.id)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(elsewhere.result, 30)
        eventually(lambda: elsewhere._client._waiting._waiting)
        eventually(lambda: elsewhere._client._notices.healthy)
        told.answer(handle)
        assert answer.result(60).text == "Knuth."


def test_who_waits_for_a_request_of_another_process_is_told_beside_others_that_wait(
    listening: Client, connect: Connect, broker: Broker, told: Told
) -> None:
    elsewhere, own = connect(broker.url, outcome_poll=NEVER), ask(listening, 1)
    handle = listening.get(ask(elsewhere).id)
    with ThreadPoolExecutor(2) as threads:
        kept = threads.submit(own.result, 60)
        eventually(lambda: listening._waiting._waiting)
        answer = threads.submit(handle.result, 60)
        eventually(lambda: len(listening._waiting._waiting) == 2)
        told.answer(handle)  # perhaps before its notice can be heard here
        assert answer.result(60).text == "Knuth."
        told.answer(own)
        assert kept.result(60).text == "Knuth."


def test_another_process_is_heard_until_the_last_one_has_its_answer(
    listening: Client, connect: Connect, broker: Broker, told: Told
) -> None:
    elsewhere = connect(broker.url, broker_timeout=1)
    handles = [elsewhere.get(ask(listening, n).id) for n in range(2)]
    channel = notices.outcomes_channel(listening._origin)
    listeners: Callable[[], int] = lambda: told.redis.pubsub_numsub(channel)[0][1]  # noqa: E731 - of one line
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(handle.result, 60) for handle in handles]
        eventually(lambda: listeners() == 2, what="both clients hear it")
        for handle, answer in zip(handles, answers, strict=True):
            assert listeners() == 2
            told.answer(handle)
            assert answer.result(60).text == "Knuth."
    eventually(lambda: listeners() == 1, what="only the client whose requests they are hears it")


def test_a_frozen_broker_does_not_hold_an_event_loop_that_waits_for_a_request_of_another_process(
    connect: Connect, broker: Broker
) -> None:
    client = connect(broker.url, broker_timeout=20)
    ask(client, 2)  # it is told of its own
    eventually(lambda: client._notices.healthy)

    async def wait_in_vain(first: Handle, second: Handle) -> None:
        with pytest.raises(WaitTimeout):
            await first.aresult(0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(second.astream()), 0.1)

    first, second = (client.get(ask(connect(broker.url), n).id) for n in range(2))
    broker.freeze()
    try:
        assert seconds_of(lambda: asyncio.run(wait_in_vain(first, second))) < 10
    finally:
        broker.thaw()


def test_what_ended_while_nobody_could_be_told_is_looked_up_when_the_broker_is_back(
    listening: Client, told: Told, broker: Broker
) -> None:
    handle = ask(listening)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(handle.result, 30)
        eventually(lambda: listening._waiting._waiting)
        broker.kill()
        told.answer(handle, tell=False)
        broker.start()
        assert answer.result(60).text == "Knuth."


def wait_until_idle(client: Client) -> None:
    """Until the waiting thread sleeps because nobody waits."""
    eventually(lambda: not client._waiting._waiting and not client._waiting._wanted)
    eventually(lambda: client._waiting._changed._waiters)  # type: ignore[attr-defined]  # of threading.Condition


def test_a_lost_notice_is_made_good_by_a_look(connect: Connect, broker: Broker, told: Told) -> None:
    client = connect(broker.url, broker_timeout=2)
    told.answer(first := ask(client, 1))
    first.result(timeout=60)
    wait_until_idle(client)
    told.answer(second := ask(client, 2), tell=False)
    assert second.result(timeout=60).text == "Knuth."


def results(handle: Handle) -> str:
    return handle.result(timeout=60).text


def streamed(handle: Handle) -> str:
    return "".join(handle.stream(timeout=20))


def awaited(handle: Handle) -> str:
    return asyncio.run(handle.aresult(timeout=60)).text


@pytest.mark.parametrize("again", [results, streamed, awaited], ids=["result", "stream", "aresult"])
@pytest.mark.parametrize("first", [results, streamed], ids=["result", "stream"])
def test_an_answer_can_be_had_twice(
    connect: Connect, broker: Broker, told: Told, first: Callable[[Handle], str], again: Callable[[Handle], str]
) -> None:
    client = connect(broker.url, broker_timeout=2)
    told.answer(handle := ask(client))
    assert first(handle) == "Knuth."
    wait_until_idle(client)
    assert again(handle) == "Knuth."


def test_a_thousand_who_are_told_cost_a_look_for_each_notice_at_most(
    listening: Client, told: Told, desk: Desk, looks: list[int]
) -> None:
    requests = [{"text": "Hello.", "user_id": f"u{n}", "conversation_id": "c"} for n in range(1000)]
    handles = [one for one in listening.submit_many(requests) if isinstance(one, Handle)]
    futures = [handle._future() for handle in handles]
    claims = desk.claim(*(UUID(handle.id) for handle in handles))
    for start in range(0, 1000, 100):
        ended = desk.end(*(answered(one) for one in claims[start : start + 100]))
        channels = {notices.outcomes_channel(o): [str(i) for i in ids] for o, ids in ended.outcomes.items()}
        notices.publish(told.redis, channels)
    assert {future.result(60).text for future in futures} == {"Knuth."}
    assert sum(looks) == 1000
    assert len(looks) <= 10


def test_a_broker_that_dies_while_somebody_waits_does_not_keep_the_answer(
    connect: Connect, broker: Broker, told: Told
) -> None:
    client = connect(broker.url)
    handle = ask(client)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(handle.result, 30)
        eventually(lambda: client._waiting._waiting)
        broker.kill()
        told.answer(handle, tell=False)
        assert answer.result(60).text == "Knuth."
