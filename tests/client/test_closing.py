"""A client that is closed: whoever waits for an answer learns it, and whoever comes to wait later."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from prometheus_client import REGISTRY

from pipeline import Client, ClientClosed, Handle, signals
from pipeline.client.acceptance import BATCH
from tests.client.conftest import NO_BROKER, Connect
from tests.servers import Broker, eventually


def result(handle: Handle) -> object:
    return handle.result()


def stream(handle: Handle) -> object:
    return list(handle.stream())


def aresult(handle: Handle) -> object:
    return asyncio.run(handle.aresult())


def astream(handle: Handle) -> object:
    """And asyncio must have nothing to complain of."""
    complaints: list[object] = []

    async def follow() -> list[str]:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        return [text async for text in handle.astream()]

    try:
        return asyncio.run(follow())
    finally:
        gc.collect()
        assert complaints == []


WAITS = pytest.mark.parametrize("wait", [result, stream, aresult, astream], ids=lambda wait: wait.__name__)


def ask(client: Client) -> Handle:
    return client.submit("Hello.", user_id="ada", conversation_id="thesis")


@pytest.fixture(params=["with a broker", "without one"])
def client(request: pytest.FixtureRequest, connect: Connect) -> Client:
    if request.param == "without one":
        return connect(NO_BROKER)
    broker: Broker = request.getfixturevalue("broker")
    return connect(broker.url)


@WAITS
def test_whoever_waits_while_the_client_is_closed_is_told(client: Client, wait: Callable[[Handle], object]) -> None:
    handle = ask(client)
    with ThreadPoolExecutor(1) as thread:
        waiter = thread.submit(wait, handle)
        eventually(lambda: client._waiting._waiting)
        client.close()
        assert isinstance(waiter.exception(30), ClientClosed)


@WAITS
def test_whoever_comes_to_wait_after_the_client_was_closed_is_told(
    client: Client, wait: Callable[[Handle], object]
) -> None:
    handle = ask(client)
    client.close()
    with ThreadPoolExecutor(1) as thread:
        assert isinstance(thread.submit(wait, handle).exception(30), ClientClosed)


def test_what_was_submitted_goes_on_without_its_client(client: Client, connect: Connect) -> None:
    handle = ask(client)
    client.close()
    assert connect(NO_BROKER).get(handle.id).status() == "queued"


def test_asyncio_code_that_comes_after_the_client_was_closed_is_told(client: Client) -> None:
    client.close()
    with pytest.raises(ClientClosed):
        asyncio.run(client.asubmit("Hello.", user_id="ada", conversation_id="thesis"))


def test_a_client_that_is_closed_leaves_no_connection_to_the_broker(connect: Connect, broker: Broker) -> None:
    with redis.Redis.from_url(broker.url) as look:

        def connections() -> int:
            return len(look.client_list())

        before = connections()
        client = connect(broker.url)
        ask(client)
        assert connections() > before
        client.close()
        eventually(lambda: connections() == before, what="its connections are closed")


VERBS: dict[str, Callable[[Client, Handle], object]] = {
    "submit": lambda client, _: ask(client),
    "submit_many": lambda client, _: client.submit_many(
        [{"text": "Hello.", "user_id": "ada", "conversation_id": "thesis"}]
    ),
    "get": lambda client, handle: client.get(handle.id),
    "retry": lambda client, handle: client.retry(handle.id),
    "history": lambda client, _: list(client.history("ada", "thesis")),
    "erase": lambda client, _: client.erase("ada"),
    "status": lambda _, handle: handle.status(),
    "cancel": lambda _, handle: handle.cancel(),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize("used", [True, False], ids=["used before", "never used"])
def test_whoever_comes_to_ask_after_the_client_was_closed_is_told(
    connect: Connect, verb: Callable[[Client, Handle], object], *, used: bool
) -> None:
    client = connect(NO_BROKER)
    handle = ask(client if used else connect(NO_BROKER))
    mine = Handle(client, handle._uuid, origin=client._origin, stream_key=handle._key, since=None)
    client.close()
    with pytest.raises(ClientClosed):
        verb(client, mine)


def cancellations(user_id: str) -> float:
    labels = {"user_id": user_id, "status": "cancelled"}
    return REGISTRY.get_sample_value("cite_agent_requests_total", labels) or 0.0


def test_another_client_of_the_process_goes_on_and_counts_its_users_by_name(connect: Connect) -> None:
    living, other = connect(NO_BROKER), connect(NO_BROKER)
    handle, before = ask(living), cancellations("ada")
    other.close()
    assert handle.cancel()
    assert cancellations("ada") == before + 1


def test_what_is_counted_after_the_last_client_was_closed_is_nobodys_error(connect: Connect) -> None:
    client = connect(NO_BROKER)
    client.close()
    signals.users_met(["somebody new"])
    signals.rate_limited("somebody new")


def test_what_was_stored_before_the_client_was_closed_has_its_handle(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(NO_BROKER)
    monkeypatch.setattr(client._courier, "carry", lambda _: client.close())  # between the first batch and the second
    many = [{"text": "Hello.", "user_id": "ada", "conversation_id": str(n)} for n in range(BATCH + 1)]
    *stored, last = client.submit_many(many)
    assert all(isinstance(one, Handle) for one in stored)
    assert isinstance(last, ClientClosed)


def test_what_is_under_way_in_the_broker_is_not_cut_off(connect: Connect, broker: Broker) -> None:
    client = connect(broker.url)
    ask(client)
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(client.redis.blpop, ["nothing"], 2)
        eventually(lambda: client.redis.connection_pool._in_use_connections)
        client.close()
        assert under_way.result(30) is None
