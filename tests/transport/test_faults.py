"""What a worker does when the broker goes away, forgets, freezes or hangs up. Remote control and events are on."""

from __future__ import annotations

import signal

import pytest

from tests.transport.conftest import StartWorker
from tests.transport.harness import Broker, Sender, Worker, wait_for

#: Seconds within which a worker must be at work again once the broker is back.
BACK = 6


def half_busy(start_worker: StartWorker, sender: Sender, held: int = 2) -> Worker:
    """A worker of four slots that runs two tasks, with two slots free and a message that waits for its time."""
    worker = start_worker(slots=4)
    names = [f"running{n}" for n in range(held)]
    sender.hold(*names)
    sender.note("later", countdown=300)
    wait_for(lambda: len(worker.lines("start")) == held, what="the tasks run")
    return worker


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_half_busy_worker_outlives_its_broker_and_works_on_when_it_is_back(
    broker: Broker, start_worker: StartWorker, sender: Sender, number: signal.Signals
) -> None:
    worker = half_busy(start_worker, sender)
    broker.kill(number)
    wait_for(lambda: worker.says("cannot reach the broker"), what="the worker has noticed")
    broker.start()
    sender.note("afterwards")
    wait_for(lambda: worker.wrote("end", "afterwards"), BACK)
    worker.open("gate")
    wait_for(lambda: worker.wrote("end", "running0") and worker.wrote("end", "running1"))
    assert worker.lines("start").count("running0") == 1
    assert worker.stop() == 0


def test_tasks_end_while_the_broker_is_down(broker: Broker, start_worker: StartWorker, sender: Sender) -> None:
    worker = half_busy(start_worker, sender, held=4)
    broker.kill()
    worker.open("gate")
    wait_for(lambda: len(worker.lines("end")) == 4)
    broker.lose_data()
    broker.start()
    sender.note("afterwards")
    wait_for(lambda: worker.wrote("end", "afterwards"), BACK)


def test_queued_messages_run_once_after_a_restart_with_data(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = start_worker(slots=1)
    sender.hold("running")
    wait_for(lambda: worker.wrote("start", "running"))
    sender.note("first", "second")
    broker.client.waitaof(1, 0, 5000)
    broker.kill()
    broker.start()
    worker.open("gate")
    wait_for(lambda: worker.wrote("end", "second"))
    assert worker.lines("start") == ["running", "first", "second"]


def test_a_worker_goes_on_when_the_broker_was_emptied(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = half_busy(start_worker, sender)
    broker.client.flushall()
    sender.note("afterwards")
    wait_for(lambda: worker.wrote("end", "afterwards"), BACK)
    worker.open("gate")
    wait_for(lambda: worker.wrote("end", "running1"))


def test_a_cut_connection_runs_nothing_twice(broker: Broker, start_worker: StartWorker, sender: Sender) -> None:
    worker = half_busy(start_worker, sender)
    for turn in range(3):
        broker.client.client_kill_filter(_type="normal", skipme=True)
        broker.client.client_kill_filter(_type="pubsub", skipme=True)
        sender.note(f"turn{turn}")
        wait_for(lambda turn=turn: worker.wrote("end", f"turn{turn}"), BACK)  # type: ignore[misc]  # mypy on defaults
    worker.open("gate")
    wait_for(lambda: worker.wrote("end", "running1"))
    assert sorted(worker.lines("start")) == ["running0", "running1", "turn0", "turn1", "turn2"]
    assert not worker.says("Unrecoverable")


def test_a_worker_takes_up_work_again_when_a_frozen_broker_thaws(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = half_busy(start_worker, sender)
    broker.send(signal.SIGSTOP)
    worker.open("gate")
    wait_for(lambda: len(worker.lines("end")) == 2, what="what ran, ended")
    # Long enough for the worker to give up its connections and to fail with new ones.
    wait_for(lambda: worker.says("cannot reach the broker"), 30, "the worker has noticed")
    broker.send(signal.SIGCONT)
    sender.note("afterwards")
    wait_for(lambda: worker.wrote("end", "afterwards"), BACK)
    assert worker.stop() == 0


def test_a_warm_shutdown_ends_what_runs_and_leaves_the_rest(
    broker: Broker, start_worker: StartWorker, sender: Sender
) -> None:
    worker = half_busy(start_worker, sender, held=4)
    sender.note("left1", "left2")
    worker.process.send_signal(signal.SIGTERM)
    wait_for(lambda: worker.says("Warm shutdown"))
    sender.note("left3")
    worker.open("gate")
    assert worker.stop() == 0
    assert len(worker.lines("end")) == 4
    # The one that waited for its time in the worker's memory is back, and comes first.
    assert broker.client.llen("normal") == 4
    following = start_worker(slots=1)  # with more, the threads race to write down what they start
    wait_for(lambda: following.wrote("end", "left3"))
    assert [name for name in following.lines("start") if name.startswith("left")] == ["left1", "left2", "left3"]


@pytest.mark.parametrize("setting", ["min-replicas-to-write", "maxmemory"])
def test_a_worker_outlives_a_broker_that_refuses_to_write_and_works_on_when_it_no_longer_does(
    broker: Broker, start_worker: StartWorker, sender: Sender, setting: str
) -> None:
    worker = half_busy(start_worker, sender)
    broker.client.config_set(setting, 1)
    broker.client.client_kill_filter(_type="normal", skipme=True)  # it gives back what it holds, and is refused
    wait_for(lambda: worker.log.read_text().count("the broker refuses") >= 2)
    broker.client.config_set(setting, 0)
    sender.note("afterwards")
    wait_for(lambda: worker.wrote("end", "afterwards"), BACK)
    worker.open("gate")
    wait_for(lambda: worker.wrote("end", "running0") and worker.wrote("end", "running1"))
    assert worker.lines("start").count("running0") == 1
    assert not worker.says("Frequent restarts")
    assert worker.stop() == 0
