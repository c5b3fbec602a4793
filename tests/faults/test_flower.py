"""What an operator sees in Flower."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.local.roster import free_port
from pipeline.providers.simulator import Simulator
from pipeline.schemas import Priority
from pipeline.transport.publish import Publisher
from pipeline.transport.wire import TaskMessage
from tests.faults.wiretap import Wiretap
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

LOGIN = "operator:secret"
MakeFleet = Callable[..., Fleet]
Tasks = Callable[[], dict[str, dict[str, Any]]]


@pytest.fixture
def tasks(database: str, broker: Broker, tmp_path: Path) -> Iterator[Tasks]:
    """What Flower's API tells of the tasks, by id."""
    port = free_port()
    environment = {
        **os.environ,
        "CITE_AGENT_DATABASE_URL": database,
        "CITE_AGENT_BROKER_URL": broker.url,
        "FLOWER_BASIC_AUTH": LOGIN,
    }
    command = [sys.executable, "-m", "celery", "-A", "pipeline", "flower", f"--port={port}", "--address=127.0.0.1"]
    with (tmp_path / "flower.log").open("wb") as log:
        flower = psutil.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def ask() -> dict[str, dict[str, Any]]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/tasks?limit=1000")
        request.add_header("Authorization", "Basic " + base64.b64encode(LOGIN.encode()).decode())
        with urllib.request.urlopen(request, timeout=5) as reply:
            found: dict[str, dict[str, Any]] = json.load(reply)
            return found

    def answers() -> bool:
        try:
            ask()
        except OSError:
            return False
        return True

    eventually(answers, 60, what="Flower answers")
    yield ask
    flower.kill()
    flower.wait(60)


def test_flower_shows_answers_retries_failures_and_dropped_duplicates_and_nothing_private(
    database: str, broker: Broker, make_fleet: MakeFleet, tasks: Tasks
) -> None:
    with Simulator() as simulator:
        provider = {"name": "sim", "base_url": simulator.url, "model": "simulated"}
        fleet = make_fleet(database, broker.url, providers=[provider], retry_initial_delay=5, retry_jitter=False)
        fleet.start()

        def submit(text: str, **options: Any) -> Any:
            return fleet.client.submit(text, user_id="ada", conversation_id="thesis", **options)

        good = submit("MARKER good")
        good.result(60)
        Publisher(broker.url).publish(
            [TaskMessage(task="pipeline.answer", id=f"{good.id}.2", queue=Priority.normal.name, args=(good.id, 2))]
        )
        simulator.script("503")
        retried = submit("MARKER retried")
        eventually(lambda: tasks().get(retried.id, {}).get("state") == "RETRY", what="RETRY is shown")
        retried.result(60)
        simulator.script("503", "503")
        failed = submit("MARKER failed", max_attempts=1)
        with pytest.raises(Exception, match="http_503"):
            failed.result(60)

        expected = {good.id: "SUCCESS", f"{good.id}.2": "IGNORED", retried.id: "SUCCESS", failed.id: "FAILURE"}
        eventually(lambda: {i: t["state"] for i, t in tasks().items()} == expected, what=f"{expected}; {tasks()}")
        shown = tasks()
        assert {task["name"] for task in shown.values()} == {"pipeline.answer"}
        for id_ in (good.id, retried.id, failed.id):
            assert "ada" in shown[id_]["kwargs"]
            assert "thesis" in shown[id_]["kwargs"]
        # Celery tells of a message when it arrives: a retry's, which then waits, is not to hide that it is one.
        assert shown[retried.id]["received"] < shown[retried.id]["retried"] < shown[retried.id]["started"]
        assert "RequestFailed" in shown[failed.id]["exception"]
        assert failed.id in shown[failed.id]["exception"]
        assert "MARKER" not in json.dumps(shown)
        assert "[simulated]" not in json.dumps(shown)


def test_what_expired_is_told_as_failed_and_what_was_interrupted_as_ignored(fleet: Fleet, wiretap: Wiretap) -> None:
    fleet.start(1)
    fleet.hears_orders()
    expired = fleet.ask(seconds=60, deadline=2, user_id="ada")
    interrupted = fleet.ask(agent="gate", user_id="bob")
    fleet.worker_of(interrupted)
    fleet.ask(user_id="bob", on_busy="interrupt").result(PATIENCE)
    expected = {expired.id: ["task-failed"], interrupted.id: ["task-ignored"]}

    def told() -> dict[str, list[str]]:
        ends = ("task-succeeded", "task-failed", "task-ignored", "task-retried")
        return {id_: wiretap.events(id_, *ends) for id_ in expected}

    eventually(lambda: told() == expected, PATIENCE, what=f"{expected}; {told()}")
