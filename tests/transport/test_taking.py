"""What a worker takes from the queues, in which order, and how much of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from tests.transport.conftest import StartWorker
from tests.transport.harness import TOP, Broker, Sender, wait_for


def test_queues_are_served_strictly_in_order(broker: Broker, start_worker: StartWorker, sender: Sender) -> None:
    for n in range(20):
        sender.note(f"batch{n:02}", queue="batch")
        sender.note(f"normal{n:02}", queue="normal")
        sender.note(f"urgent{n:02}", queue="urgent")
    worker = start_worker(slots=1)
    wait_for(lambda: worker.wrote("end", "batch19"))
    expected = [f"{queue}{n:02}" for queue in ("urgent", "normal", "batch") for n in range(20)]
    assert worker.lines("start") == expected


def test_an_urgent_message_overtakes_all_that_no_worker_has_taken(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = start_worker(slots=2)
    sender.hold("one", gate="gate1")
    sender.hold("two", gate="gate2")
    wait_for(lambda: len(worker.lines("start")) == 2)
    sender.hold(*(f"normal{n}" for n in range(5)), gate="gate3")
    sender.hold("urgent", queue="urgent", gate="gate3")
    worker.open("gate1")
    wait_for(lambda: len(worker.lines("start")) == 3)
    assert worker.lines("start")[2] == "urgent"
    assert broker.client.llen("normal") == 5


def test_a_worker_takes_no_more_than_it_can_start(broker: Broker, start_worker: StartWorker, sender: Sender) -> None:
    worker = start_worker(slots=3)
    sender.hold(*(f"task{n}" for n in range(10)))
    wait_for(lambda: len(worker.lines("start")) == 3)
    assert broker.client.llen("normal") == 7
    worker.open("gate")
    wait_for(lambda: len(worker.lines("end")) == 10)


def test_messages_that_wait_for_their_time_take_no_slot(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = start_worker(slots=2)
    sender.note(*(f"later{n}" for n in range(100)), countdown=4)
    wait_for(lambda: broker.client.llen("normal") == 0, what="the worker holds them all")
    sender.note("now")
    wait_for(lambda: worker.wrote("end", "now"))
    assert worker.lines("start") == ["now"]
    wait_for(lambda: len(worker.lines("end")) == 101)
    assert len(set(worker.lines("start"))) == 101


def test_a_task_whose_time_has_come_goes_before_what_is_still_queued(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = start_worker(slots=2)
    sender.note("due", countdown=2)
    due = time.monotonic() + 3
    wait_for(lambda: not broker.client.llen("normal"), what="the worker holds it")
    sender.hold("running1", "running2")
    wait_for(lambda: len(worker.lines("start")) == 2 and time.monotonic() > due)
    sender.note("queued")
    worker.open("gate")
    wait_for(lambda: worker.wrote("end", "queued"))
    assert worker.lines("start")[2:] == ["due", "queued"]


def test_other_queues_are_left_to_workers_that_are_told_to_serve_them(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    sender.note("archived", queue="archive")
    sender.note("normal")
    worker = start_worker()
    wait_for(lambda: worker.wrote("end", "normal"))
    assert broker.client.llen("archive") == 1
    other = start_worker(options=("-Q", "archive,maintenance", "-n", "other@%h", "-c", "1"))
    wait_for(lambda: other.wrote("end", "archived"))


def test_nothing_but_the_queues_and_bindings_is_written_to_the_broker(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = start_worker()
    sender.hold("running")
    sender.note("later", countdown=300)
    wait_for(lambda: worker.wrote("start", "running") and not broker.client.llen("normal"))
    keys = list(broker.client.scan_iter())
    assert keys
    assert not [key for key in keys if not key.startswith(b"_kombu.binding")]


def test_remote_control_answers_and_shows_no_password(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    broker.client.acl_setuser("default", enabled=True, passwords=["+open-sesame"], nopass=False)
    broker.client.connection_pool.connection_kwargs["password"] = "open-sesame"
    broker.url = f"unix://:open-sesame@{broker.socket}"
    worker = start_worker()
    found = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.transport.app", "inspect", "--json", "stats"],
        cwd=TOP,
        env=worker.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    (stats,) = json.loads(found.stdout).values()
    assert stats["pool"]["max-concurrency"] == 4
    assert "open-sesame" not in found.stdout
    assert not worker.says("open-sesame")
