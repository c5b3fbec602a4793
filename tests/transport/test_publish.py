"""What is sent is what Celery would have sent, fast, and a broker that is away is reported in time."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from pipeline.errors import BrokerUnavailable
from pipeline.transport.address import celery_settings
from pipeline.transport.publish import Publisher
from pipeline.transport.wire import TaskMessage
from tests.transport.harness import Broker


@pytest.fixture
def app(broker: Broker) -> Any:
    app = Celery("publisher", set_as_current=False)
    app.conf.update(
        broker_transport="pipeline.transport.broker:Transport",
        broker_transport_options={"socket_timeout": 2, "socket_connect_timeout": 2, "max_retries": 0},
        task_publish_retry=False,
        task_ignore_result=True,
        **celery_settings(broker.url),
    )
    yield app
    app.close()


@pytest.fixture
def publisher(broker: Broker) -> Any:
    publisher = Publisher(broker.url, timeout=2)
    yield publisher
    publisher.close()


def messages(count: int, queue: str = "normal") -> list[TaskMessage]:
    return [TaskMessage("test.note", f"id{n}", queue, [n]) for n in range(count)]


def popped(broker: Broker, queue: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(broker.client.rpop(queue))  # type: ignore[arg-type]  # redis-py's union of sync and async
    return found


def test_a_message_is_the_one_that_celery_sends(broker: Broker, publisher: Publisher, app: Any) -> None:
    app.send_task("test.note", ["x"], {"y": 1}, task_id="id", queue="normal", ignore_result=True)
    publisher.publish([TaskMessage("test.note", "id", "normal", ["x"], {"y": 1}, "['x']", "{'y': 1}")])
    celerys, ours = popped(broker, "normal"), popped(broker, "normal")
    assert json.loads(celerys.pop("body")) == json.loads(ours.pop("body"))
    for sent in (celerys, ours):
        assert sent["headers"].pop("origin")
        assert sent["properties"].pop("delivery_tag")
    # Where a result would go, but none is ever read.
    assert celerys["properties"].pop("reply_to") != ours["properties"].pop("reply_to") == ""
    assert celerys == ours


def test_a_countdown_becomes_a_time(broker: Broker, publisher: Publisher) -> None:
    publisher.publish([TaskMessage("test.note", "id", "normal", countdown=60)])
    eta = datetime.fromisoformat(popped(broker, "normal")["headers"]["eta"])
    assert timedelta(seconds=50) < eta - datetime.now(UTC) < timedelta(seconds=70)


def test_a_batch_over_several_queues_keeps_each_queues_order(broker: Broker, publisher: Publisher) -> None:
    publisher.publish(messages(3) + messages(2, "urgent"))
    publisher.publish([])
    assert [popped(broker, "normal")["headers"]["id"] for _ in range(3)] == ["id0", "id1", "id2"]
    assert broker.client.llen("urgent") == 2


def test_many_threads_share_a_publisher_and_nothing_is_lost(broker: Broker, publisher: Publisher) -> None:
    with ThreadPoolExecutor(50) as threads:
        list(threads.map(lambda _: publisher.publish(messages(10)), range(200)))
    assert broker.client.llen("normal") == 2000


def test_a_restarted_broker_is_not_noticed(broker: Broker, publisher: Publisher) -> None:
    publisher.publish(messages(1))
    broker.kill()
    with pytest.raises(BrokerUnavailable):
        publisher.publish(messages(1))
    broker.start()
    publisher.publish(messages(1))
    broker.kill()
    broker.start()
    publisher.publish(messages(1))


def test_a_frozen_broker_fails_every_publisher_within_three_seconds(
    broker: Broker, publisher: Publisher, app: Any
) -> None:
    def publish(_: int) -> float:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher.publish(messages(1))
        return time.monotonic() - started

    app.send_task("test.note", ["x"], queue="normal")
    broker.send(signal.SIGSTOP)
    with ThreadPoolExecutor(20) as threads:
        assert max(threads.map(publish, range(20))) < 3
    started = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("test.note", ["x"], queue="normal")
    assert time.monotonic() - started < 3
    broker.send(signal.SIGCONT)


def test_celerys_own_publishing_fails_at_once_without_a_broker(broker: Broker, app: Any) -> None:
    broker.kill()
    started = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("test.note", ["x"], queue="normal")
    assert time.monotonic() - started < 3


def test_kombus_batches_work_on_the_transport(broker: Broker, app: Any) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        assert producer.supports_batch_publish
        with producer.batch():
            for n in range(100):
                app.send_task("test.note", [n], queue="normal", producer=producer)
            assert broker.client.llen("normal") == 0
    assert broker.client.llen("normal") == 100
