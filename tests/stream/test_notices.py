from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest
import redis
from redis.client import PubSub

from pipeline.notices import Listener, control_channel, outcomes_channel, publish
from tests.servers import Broker, eventually, quickest, seconds_of

from .conftest import TIMEOUT, cut_connections

HERE, THERE = outcomes_channel("here"), outcomes_channel("there")


class Owner:
    """Writes down what a listener tells."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[str]]] = []
        self.reconnects = 0

    def on_message(self, channel: str, ids: list[str]) -> None:
        self.heard.append((channel, ids))

    def on_reconnect(self) -> None:
        self.reconnects += 1


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def listen(broker: Broker, owner: Owner) -> Iterator[Callable[..., Listener]]:
    with ExitStack() as cleanup:

        def make() -> Listener:
            listener = Listener(broker.url, owner.on_message, owner.on_reconnect, timeout=TIMEOUT)
            cleanup.callback(listener.stop)
            return listener

        yield make


def test_notices_come_to_those_who_subscribed(
    client: redis.Redis, owner: Owner, listen: Callable[..., Listener]
) -> None:
    listener = listen()
    assert not listener.healthy
    assert listener.subscribe(HERE, wait=5)
    assert listener.healthy
    eventually(lambda: owner.reconnects == 1, what="the owner is told that it may rely on notices")
    publish(client, {HERE: ["a", "b"], THERE: ["c"], control_channel("w"): []})
    eventually(lambda: owner.heard, what="a notice")
    assert owner.heard == [(HERE, ["a", "b"])]


def test_more_channels_are_heard_at_once_and_fewer_too(
    client: redis.Redis, owner: Owner, listen: Callable[..., Listener]
) -> None:
    listener = listen()
    listener.subscribe(HERE, wait=5)
    others = (outcomes_channel(f"other {n}") for n in count())
    assert quickest(lambda: seconds_of(lambda: listener.subscribe(next(others), wait=5)), TIMEOUT) < TIMEOUT, (
        "without waiting for a look that is due"
    )
    assert listener.subscribe(THERE, wait=5)
    listener.unsubscribe(HERE)
    eventually(lambda: client.pubsub_numsub(HERE)[0][1] == 0, what="it is heard no more")
    publish(client, {HERE: ["a"]})
    publish(client, {THERE: ["b"]})
    eventually(lambda: owner.heard, what="a notice")
    assert owner.heard == [(THERE, ["b"])]


def test_after_a_lost_connection_the_owner_is_told_to_look_what_was_missed(
    admin: redis.Redis, client: redis.Redis, owner: Owner, listen: Callable[..., Listener]
) -> None:
    listener = listen()
    listener.subscribe(HERE, wait=5)
    eventually(lambda: owner.reconnects == 1, what="connected")
    cut_connections(admin)
    eventually(lambda: owner.reconnects == 2, what="connected again")
    publish(client, {HERE: ["a"]})
    eventually(lambda: owner.heard == [(HERE, ["a"])], what="a notice")


@pytest.mark.parametrize("keep_data", [True, False])
def test_notices_come_again_after_the_broker_was_restarted(
    broker: Broker, client: redis.Redis, owner: Owner, listen: Callable[..., Listener], *, keep_data: bool
) -> None:
    listener = listen()
    listener.subscribe(HERE, wait=5)
    broker.kill()
    eventually(lambda: not listener.healthy, what="the loss is known")
    assert not listener.subscribe(THERE), "asked for while the broker is away"
    broker.restart(keep_data=keep_data)
    eventually(lambda: listener.healthy and owner.reconnects == 2, what="connected again")
    publish(client, {HERE: ["a"], THERE: ["b"]})
    eventually(lambda: owner.heard == [(HERE, ["a"]), (THERE, ["b"])], what="notices")


def test_a_frozen_broker_is_noticed_and_heard_again_when_it_thaws(
    broker: Broker, owner: Owner, listen: Callable[..., Listener]
) -> None:
    listener = listen()
    listener.subscribe(HERE, wait=5)
    eventually(lambda: owner.reconnects == 1, what="connected")
    broker.freeze()
    eventually(lambda: not listener.healthy, what="its silence is noticed")
    broker.thaw()
    eventually(lambda: listener.healthy and owner.reconnects == 2, what="connected again")


def test_a_broker_that_comes_late_is_heard(
    broker: Broker, client: redis.Redis, owner: Owner, listen: Callable[..., Listener]
) -> None:
    broker.kill()
    listener = listen()
    assert not listener.subscribe(HERE)
    eventually(lambda: listener.faults, what="it has tried")
    broker.restart()
    eventually(lambda: owner.reconnects == 1, what="connected")
    publish(client, {HERE: ["a"]})
    eventually(lambda: owner.heard == [(HERE, ["a"])], what="a notice")


def test_a_quiet_channel_is_no_lost_one(owner: Owner, listen: Callable[..., Listener]) -> None:
    listener = listen()
    listener.subscribe(HERE, wait=5)
    eventually(lambda: owner.reconnects == 1, what="connected")
    end = time.monotonic() + 4 * TIMEOUT
    while time.monotonic() < end:
        assert listener.healthy
        time.sleep(0.05)
    assert (listener.faults, owner.reconnects) == (0, 1)


def test_an_owner_that_raises_hears_the_next_notice(broker: Broker, client: redis.Redis) -> None:
    heard: list[list[str]] = []

    def on_message(_: str, ids: list[str]) -> None:
        heard.append(ids)
        raise RuntimeError("a mistake of the owner")

    listener = Listener(broker.url, on_message, timeout=TIMEOUT)
    listener.subscribe(HERE, wait=5)
    publish(client, {HERE: ["a"]})
    publish(client, {HERE: ["b"]})
    eventually(lambda: heard == [["a"], ["b"]], what="both")
    listener.stop()


def test_asyncio_code_hears_through_its_loop(broker: Broker, client: redis.Redis) -> None:
    async def hear() -> tuple[str, list[str]]:
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[tuple[str, list[str]]] = asyncio.Queue()

        def on_message(channel: str, ids: list[str]) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, (channel, ids))

        listener = Listener(broker.url, on_message, timeout=TIMEOUT)
        await asyncio.to_thread(listener.subscribe, HERE, 5)
        await asyncio.to_thread(publish, client, {HERE: ["a"]})
        told = await asyncio.wait_for(heard.get(), 5)
        await asyncio.to_thread(listener.stop)
        return told

    assert asyncio.run(hear()) == (HERE, ["a"])


def test_stopping_ends_the_thread_at_once(listen: Callable[..., Listener]) -> None:
    def stopping() -> float:
        listener = listen()
        listener.subscribe(HERE, wait=5)
        took = seconds_of(listener.stop)
        assert listener._thread is not None
        assert not listener._thread.is_alive()
        return took

    assert quickest(stopping, TIMEOUT) < TIMEOUT


def test_what_nobody_foresaw_ends_a_connection_and_not_the_listening(
    client: redis.Redis, owner: Owner, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = listen()
    assert listener.subscribe(HERE, wait=5)
    understood, strange = PubSub.get_message, count()

    def get_message(self: PubSub, *given: object, **named: object) -> object:
        if next(strange) == 0:
            raise ValueError("who could have known?")
        return understood(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(PubSub, "get_message", get_message)
    eventually(lambda: listener.faults == 1)
    eventually(lambda: listener.healthy, what="it has a new connection")
    publish(client, {HERE: ["a"]})
    eventually(lambda: owner.heard, what="a notice")
