"""What a worker logs: each line an object, and the way of a request to be read from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import RequestFailed
from pipeline.providers.simulator import Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE
from tests.servers import Broker, eventually


def test_every_line_of_a_worker_is_an_object_and_a_requests_way_is_among_them(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url), log_format="json")
    [worker] = fleet.start(1)
    simulator.script("503")
    handle = fleet.ask(agent="chat")
    handle.result(PATIENCE)
    with pytest.raises(RequestFailed):
        fleet.ask(agent="raises").result(PATIENCE)
    eventually(lambda: fleet.log(worker).count('"attempt_ended"') == 3, PATIENCE, what="all attempts are logged")
    broker.restart()
    eventually(lambda: "cannot reach the broker" in fleet.log(worker), PATIENCE, what="the broker is missed")
    worker.terminate()
    worker.wait(60)

    lines = [json.loads(line) for line in fleet.log(worker).splitlines()]
    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    assert {"celery.worker.strategy", "celery.app.trace", "pipeline"} <= {line["logger"] for line in lines}
    way = [line for line in lines if line.get("request_id") == handle.id and line["logger"] == "pipeline"]
    assert [(line["event"], line["attempt"], line.get("outcome")) for line in way] == [
        ("request_claimed", 1, None),
        ("call_ended", 1, None),
        ("attempt_ended", 1, "retrying"),
        ("request_claimed", 2, None),
        ("call_ended", 2, None),
        ("attempt_ended", 2, "succeeded"),
    ]
    assert {line["worker"] for line in way} == {"w0@test"}
    assert (way[1]["status_code"], way[1]["reason"]) == (503, "http_503")
    assert way[2]["retry_in"] >= 0
    assert way[4]["tokens"] > 0
    failed = [line for line in lines if line.get("outcome") == "failed"]
    assert [line["reason"] for line in failed] == ["agent_error"]


def test_beat_and_flower_write_objects_too(database: str, broker: Broker, tmp_path: Path) -> None:
    environment = {
        "CITE_AGENT_DATABASE_URL": database,
        "CITE_AGENT_BROKER_URL": broker.url,
        "CITE_AGENT_LOG_FORMAT": "json",
        "PATH": "/usr/bin:/bin",
    }
    beat = ["beat", "-s", str(tmp_path / "schedule"), "--pidfile=", "-l", "INFO"]
    flower = ["flower", "--address=127.0.0.1", "--port=0"]
    for arguments, words in ((beat, "Sending due task"), (flower, "Connected to")):
        log = tmp_path / f"{arguments[0]}.log"
        command = [sys.executable, "-m", "celery", "-q", "-A", "pipeline", *arguments]
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=tmp_path)
        eventually(lambda log=log, words=words: words in log.read_text(), PATIENCE, what=words)  # type: ignore[misc]
        process.kill()
        process.wait(60)
        lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
        assert lines
        assert all("event" in line for line in lines)


def test_what_migrations_and_web_servers_log_are_objects_too(database: str, tmp_path: Path) -> None:
    code = (
        "import logging, uvicorn; from pipeline import logs, Settings; from pipeline.store import migrate\n"
        "logs.serve(Settings(log_format='json'), level=logging.INFO)\n"
        f"migrate.downgrade({database!r}, '-1'); migrate.upgrade({database!r})\n"
        "server = uvicorn.Server(uvicorn.Config(lambda: None, port=0, lifespan='off', log_config=None))\n"
        "server.should_exit = True; server.run()"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    loggers = {json.loads(line)["logger"] for line in ran.stderr.splitlines()}
    assert {"alembic.runtime.migration", "uvicorn.error"} <= loggers


def test_an_error_that_ends_a_process_is_an_object_too(tmp_path: Path) -> None:
    code = "from pipeline import logs, Settings; logs.serve(Settings(log_format='json')); 1 / 0"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    (line,) = map(json.loads, ran.stderr.splitlines())
    assert line["level"] == "critical"
    assert "ZeroDivisionError" in line["exception"]
    assert ran.returncode == 1


def test_a_program_that_has_not_configured_structlog_hears_from_its_own_handlers_and_sees_no_print(
    database: str, tmp_path: Path
) -> None:
    code = (
        "import logging; logging.basicConfig(level='DEBUG', format='HEARD %(name)s %(message)s')\n"
        "from pipeline import Client, Settings\n"
        f"client = Client(Settings(database_url={database!r}, broker_url='redis://127.0.0.1:1', broker_timeout=0.2))\n"
        "client.submit('words', user_id='ada', conversation_id='c'); client.close()"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    assert "HEARD pipeline event='request_accepted'" in ran.stderr
    assert "HEARD pipeline.courier event='broker_unavailable'" in ran.stderr
    assert "words" not in ran.stderr
