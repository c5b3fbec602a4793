"""Following an answer as it comes, with threads and with asyncio; and that asyncio code is held up by nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
import redis

from pipeline import Client, Handle, WaitTimeout
from pipeline.broker import connect as connect_to_broker
from pipeline.stream import StreamWriter, Text
from tests.client.conftest import Connect
from tests.servers import Broker, eventually
from tests.store.desk import Desk, answered

#: Seconds until a reader gives up, on a busy machine.
PATIENCE = 60.0

Follow = Callable[[Handle, list[Text], float], None]


def with_threads(handle: Handle, seen: list[Text], timeout: float) -> None:
    for text in handle.stream(timeout):
        seen.append(text)  # noqa: PERF402 - as it comes


def with_asyncio(handle: Handle, seen: list[Text], timeout: float) -> None:
    async def follow() -> None:
        async for text in handle.astream(timeout):
            seen.append(text)  # noqa: PERF401 - as it comes

    asyncio.run(asyncio.wait_for(follow(), PATIENCE))


@pytest.fixture(params=[with_threads, with_asyncio], ids=["stream", "astream"])
def follow(request: pytest.FixtureRequest) -> Follow:
    found: Follow = request.param
    return found


@pytest.fixture
def writer(broker: Broker) -> Iterator[StreamWriter]:
    """What a worker has, to say something with."""
    client = connect_to_broker(broker.url, 5)
    made = StreamWriter(client, keep=60)
    made.start()
    yield made
    made.stop(5)
    client.close()


def ask(client: Client) -> Handle:
    return client.submit("Who wrote that?", user_id="ada", conversation_id="thesis")


def hear(seen: list[Text], text: str) -> None:
    """Wait until the reader has seen that much since its text last began anew."""
    begins: Callable[[], int] = lambda: max((at for at, one in enumerate(seen) if one.restarted), default=0)  # noqa: E731
    eventually(lambda: "".join(seen[begins() :]) == text, what=text)


def test_a_reader_sees_all_of_an_answer_once_through_broken_connections_a_new_attempt_and_what_was_never_sent(
    connect: Connect, broker: Broker, desk: Desk, writer: StreamWriter, follow: Follow
) -> None:
    handle, seen = ask(connect(broker.url)), list[Text]()
    claim = desk.claim_one(UUID(handle.id))
    with ThreadPoolExecutor(1) as thread, redis.Redis.from_url(broker.url) as admin:
        following = thread.submit(follow, handle, seen, PATIENCE)
        with writer.open(handle.id, claim.stream_key, claim.fence) as lost:
            lost.write("Dijk")
            hear(seen, "Dijk")
        with writer.open(handle.id, claim.stream_key, claim.fence + 1) as feed:
            feed.write("Knuth")
            hear(seen, "Knuth")
            admin.client_kill_filter(_type="normal", skipme=True)
            feed.write(", I")
            hear(seen, "Knuth, I")
        desk.end(answered(claim, "Knuth, I think."))
        following.result(PATIENCE)
    assert [text for text in seen if text.restarted] == ["Knuth"]
    hear(seen, "Knuth, I think.")


def test_without_a_broker_a_reader_has_the_answer_when_it_is_whole(client: Client, desk: Desk, follow: Follow) -> None:
    handle, seen = ask(client), list[Text]()
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(follow, handle, seen, PATIENCE)
        eventually(lambda: client._waiting._waiting)
        desk.end(answered(desk.claim_one(UUID(handle.id))))
        following.result(PATIENCE)
    assert seen == ["Knuth."]


def test_a_reader_gives_up_in_time_and_can_begin_again(client: Client, desk: Desk, follow: Follow) -> None:
    handle, seen = ask(client), list[Text]()
    with pytest.raises(WaitTimeout) as late:
        follow(handle, seen, 0.1)
    assert (late.value.request_id, late.value.timeout) == (handle.id, 0.1)
    desk.end(answered(desk.claim_one(UUID(handle.id))))
    follow(handle, seen, PATIENCE)
    assert seen == ["Knuth."]


Verb = Callable[[Client, Handle], Coroutine[Any, Any, Any]]

REQUEST: dict[str, Any] = {"text": "Hello.", "user_id": "ada", "conversation_id": "thesis"}

VERBS: dict[str, Verb] = {
    "asubmit": lambda client, _: client.asubmit(**REQUEST),
    "asubmit_many": lambda client, _: client.asubmit_many([REQUEST]),
    "aget": lambda client, handle: client.aget(handle.id),
    "aretry": lambda client, handle: client.aretry(handle.id),
    "aerase": lambda client, _: client.aerase("ada"),
    "astatus": lambda _, handle: handle.astatus(),
    "acancel": lambda _, handle: handle.acancel(),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_an_event_loop_goes_on_while_a_verb_waits_for_postgres(client: Client, ledger_url: str, verb: Verb) -> None:
    handle = ask(client)

    async def use() -> None:
        with psycopg.connect(ledger_url) as lock:
            lock.execute("LOCK TABLE requests, sessions, users")
            waiting = asyncio.create_task(verb(client, handle))
            await asyncio.sleep(0.1)
            assert not waiting.done(), "the loop stood still until the verb had given up"
        await asyncio.wait([waiting])
        waiting.exception()

    asyncio.run(use())
