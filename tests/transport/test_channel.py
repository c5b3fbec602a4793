"""The transport by itself, without Celery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from pipeline.errors import ConfigurationError
from pipeline.metrics import BROKER_FAULTS
from pipeline.transport.address import as_kombu_uri, celery_broker_url, celery_settings, connection_options
from tests.transport.harness import Broker, Sender, wait_for


@pytest.fixture
def connection(broker: Broker) -> Iterator[Any]:
    with Connection(broker.url, transport="pipeline.transport.broker:Transport") as connection:
        yield connection


def received(connection: Any, queue: str = "normal") -> Any:
    return connection.default_channel.basic_get(queue)


def send(connection: Any, *bodies: str) -> None:
    for body in bodies:
        connection.Producer().publish(body, routing_key="normal", serializer="json")


def test_a_rejected_message_comes_back_first(connection: Any, broker: Broker) -> None:
    send(connection, "one", "two")
    received(connection).reject(requeue=True)
    again = received(connection)
    assert (again.payload, again.headers["redelivered"]) == ("one", True)
    again.reject()
    received(connection).ack()
    assert received(connection) is None
    assert broker.client.keys() == []


def test_a_closing_channel_gives_back_what_it_holds_in_order(connection: Any, broker: Broker) -> None:
    send(connection, "one", "two", "three")
    received(connection).ack()
    for _ in range(2):
        received(connection)
    connection.release()
    with connection.clone() as following:
        assert [received(following).payload for _ in range(2)] == ["two", "three"]


def test_a_closing_channel_gives_back_what_was_popped_for_it(connection: Any, broker: Broker) -> None:
    connection.Consumer([connection.SimpleQueue("normal").queue]).consume()
    connection.transport.cycle.on_poll_start()
    send(connection, "one", "two")
    wait_for(lambda: broker.client.llen("normal") == 1, what="one was popped")
    connection.release()
    with connection.clone() as following:
        assert [received(following).payload for _ in range(2)] == ["one", "two"]


def test_what_a_broker_that_is_gone_does_not_take_back_is_counted(connection: Any, broker: Broker) -> None:
    send(connection, "one")
    received(connection)
    counted = BROKER_FAULTS.labels("give_back")
    before = counted._value.get()
    broker.kill()
    connection.release()
    assert counted._value.get() == before + 1


def test_what_was_popped_for_a_consumer_that_ended_goes_back(connection: Any, broker: Broker) -> None:
    taken: list[str] = []
    consumer = connection.Consumer(
        [connection.SimpleQueue("normal").queue], on_message=lambda message: taken.append(message.payload)
    )
    consumer.consume()
    channel = connection.default_channel
    connection.transport.cycle.on_poll_start()  # sends BLMPOP
    assert channel.awaits_messages
    send(connection, "one")
    consumer.cancel()
    assert taken == []
    assert broker.client.llen("normal") == 1


def test_what_was_popped_goes_back_in_its_order(connection: Any, broker: Broker) -> None:
    consumer = connection.Consumer([connection.SimpleQueue("normal").queue])
    consumer.consume()
    send(connection, "one", "two", "three")
    connection.transport.cycle.on_poll_start()
    wait_for(lambda: not broker.client.llen("normal"), what="all three were popped")
    consumer.cancel()
    assert [received(connection).payload for _ in range(3)] == ["one", "two", "three"]


def test_what_was_popped_from_a_queue_that_has_lost_its_consumer_goes_back(connection: Any, broker: Broker) -> None:
    taken: list[str] = []
    queues = [connection.SimpleQueue(name).queue for name in ("normal", "batch")]
    consumer = connection.Consumer(queues, on_message=lambda message: taken.append(message.payload))
    consumer.consume()
    connection.transport.cycle.on_poll_start()
    send(connection, "one")
    consumer.cancel_by_queue("normal")
    connection.drain_events(timeout=5)
    assert (taken, broker.client.llen("normal")) == ([], 1)


def test_a_prefetch_count_bounds_a_batch(connection: Any, broker: Broker) -> None:
    taken: list[Any] = []
    consumer = connection.Consumer([connection.SimpleQueue("normal").queue], on_message=taken.append)
    consumer.qos(prefetch_count=3)
    consumer.consume()
    send(connection, *"abcdefgh")
    connection.drain_events(timeout=5)
    assert [message.payload for message in taken] == ["a", "b", "c"]
    assert broker.client.llen("normal") == 5


def test_no_more_messages_are_held_for_later_than_may_be(connection: Any, broker: Broker) -> None:
    taken: list[Any] = []
    consumer = connection.Consumer([connection.SimpleQueue("normal").queue], on_message=taken.append)
    consumer.qos(prefetch_count=0)
    connection.default_channel.qos.held_limit = 2
    consumer.consume()
    send(connection, *"abc")
    connection.drain_events(timeout=5)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    assert [message.payload for message in taken] == ["a", "b"]
    taken[0].ack()
    connection.drain_events(timeout=5)
    assert [message.payload for message in taken] == ["a", "b", "c"]


@pytest.mark.parametrize("slots", [1, 0])
def test_what_comes_when_others_have_taken_its_slots_goes_back(connection: Any, sender: Sender, slots: int) -> None:
    """Tasks whose time has come take theirs while the broker's answer is outstanding."""
    taken: list[Any] = []
    free = 3
    consumer = connection.Consumer([connection.SimpleQueue("normal").queue], on_message=taken.append)
    connection.default_channel.qos.free_slots = lambda: free - len(taken)
    consumer.consume()
    connection.transport.cycle.on_poll_start()
    free = slots
    names = ["one", "two", "three"]
    sender.note(*names)  # at once, so that all are popped
    connection.drain_events(timeout=5)
    assert [message.headers["id"] for message in taken] == names[:slots]
    assert [received(connection).headers["id"] for _ in names[slots:]] == names[slots:]


def test_a_channel_keeps_one_client_until_it_is_closed(connection: Any) -> None:
    channel = connection.default_channel
    assert channel._create_client() is channel._create_client()
    channel._after_fork()
    assert channel._create_client().ping()


@pytest.mark.parametrize(
    ("url", "bare", "user", "password"),
    [
        ("redis://localhost:7000/2", "redis://localhost:7000/2", None, None),
        ("rediss://ada:p%40ss@broker/1", "rediss://broker/1", "ada", "p@ss"),
        ("unix://:pass@/Run/V.sock?db=3", "unix:///Run/V.sock?db=3", None, "pass"),
        ("unix:///run/v.sock", "unix:///run/v.sock", None, None),
    ],
)
def test_a_url_gives_celery_its_address_and_credentials_apart(
    url: str, bare: str, user: str | None, password: str | None
) -> None:
    assert celery_broker_url(url) == bare
    assert celery_settings(url) == {"broker_url": bare, "broker_user": user, "broker_password": password}
    assert connection_options(bare).keys() <= connection_options(url).keys()


def test_people_and_flower_read_the_address_in_kombus_form() -> None:
    assert as_kombu_uri("unix:///run/v.sock?db=3", None, "**") == "redis+socket://:**@/run/v.sock?virtual_host=3"
    assert as_kombu_uri("redis://localhost:7000", None, None) == "redis://localhost:7000/0"


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="CITE_AGENT_BROKER_URL"):
        celery_settings("amqp://localhost")


def test_a_url_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError) as refused:
        connection_options("redis://:hunter2/x@localhost")  # whose port, as it seems, is a part of the password
    assert "hunter2" not in str(refused.value)
