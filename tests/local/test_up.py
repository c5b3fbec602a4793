"""`pipeline up` as an operator sees it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli.up import up as up_command
from pipeline.local.folders import DataLock
from pipeline.local.process import all_gone, at_work_in, family
from pipeline.local.stack import LocalStack
from pipeline.settings import Settings
from tests.servers import eventually

ROOT = Path(__file__).resolve().parents[2]
UP = [sys.executable, "-c", "import typer; from pipeline.cli.up import up; typer.run(up)"]


@dataclass
class Up:
    """The command, and the lines that it has printed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = Thread(target=lambda: self.lines.extend(self.process.stdout or []))
        self.reader.start()

    def says(self, words: str, timeout: float = 90) -> str:
        def found() -> str | None:
            assert self.process.poll() is None or not self.reader.is_alive(), "\n".join(self.lines)
            return next((line for line in self.lines if words in line), None)

        line = eventually(found, timeout, what=f"{words!r} in {self.lines}")
        assert line is not None
        return line


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    process = subprocess.Popen(
        [*UP, "--data", str(tmp_path / "data"), "--workers", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment(tmp_path),
    )  # fmt: skip
    command = Up(process)
    yield command
    if process.poll() is None:
        process.terminate()
    process.wait()
    command.reader.join()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.timeout(300)  # six Python programs start, on a machine that may be busy
def test_up_runs_all_of_it_restarts_what_dies_and_leaves_nothing(up: Up, tmp_path: Path) -> None:
    up.says("Ready.")
    running = family(up.process.pid)
    assert_only_this_machine_reaches(running)
    assert_flower_wants_its_password(up.says("Flower:"))

    worker = re.search(r"process (\d+)", up.says("Worker1:"))
    assert worker is not None
    psutil.Process(int(worker[1])).kill()
    assert "was ended by SIGKILL; starting it again in 0.5 s" in up.says("worker1 was")
    up.says("worker1 is back")
    assert_prometheus_finds_all(tmp_path / "data")

    running += family(up.process.pid)
    sockets = Path(re.search(r"unix://(.*)/valkey.sock", up.says("Valkey:"))[1])  # type: ignore[index]
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 0
    up.says("Stopped")
    assert all_gone(running)
    assert not sockets.exists()
    assert not (tmp_path / "stack.json").exists()
    assert up.says("Stopping beat") in up.lines[: up.lines.index(up.says("Stopping simulator"))]


@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda what: what.name)
def test_whatever_asks_up_to_end_while_it_starts_it_ends_in_order(what: signal.Signals, up: Up, tmp_path: Path) -> None:
    up.says("Starting postgres")
    running = family(up.process.pid)
    up.process.send_signal(what)
    assert up.process.wait(timeout=60) == 0, up.lines
    assert all_gone(running)
    assert not at_work_in(tmp_path / "data" / "valkey", "valkey-server")
    assert not at_work_in(tmp_path / "data" / "postgres", "postgres")
    assert not (tmp_path / "stack.json").exists()


def test_up_does_not_show_the_address_of_a_server_that_was_configured_for_its_password_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_there(stack: LocalStack) -> None:
        stack.database_url, stack.broker_url = stack.settings.database, stack.settings.broker

    monkeypatch.setenv("CITE_AGENT_STACK_FILE", str(tmp_path / "stack.json"))
    settings = Settings(database_url="postgresql://me:hunter2@db/x", broker_url="redis://:hunter2@broker")
    monkeypatch.setattr("pipeline.local.stack.current", lambda: settings)
    monkeypatch.setattr(LocalStack, "start", be_there)
    monkeypatch.setattr(LocalStack, "wait", lambda _: None)
    app = typer.Typer()
    app.command()(up_command)
    said = CliRunner().invoke(app, ["--data", str(tmp_path / "data")]).output
    assert "Ready." in said
    assert "hunter2" not in said


def test_up_on_data_in_use_says_who_uses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", str(tmp_path / "stack.json"))
    lock = DataLock(tmp_path)
    lock.acquire()
    app = typer.Typer()
    app.command()(up_command)
    refused = CliRunner().invoke(app, ["--data", str(tmp_path)])
    lock.release()
    assert refused.exit_code == 1
    assert f"another stack (process {os.getpid()}) runs on {tmp_path}" in refused.output


def test_up_on_a_folder_of_the_users_says_what_to_name_instead(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = typer.Typer()
    app.command()(up_command)
    for data in (tmp_path, tmp_path / "file"):
        refused = CliRunner().invoke(app, ["--data", str(data)])
        assert refused.exit_code == 2
        assert "name a new or an empty folder" in refused.output
        assert len(refused.output.splitlines()) == 1


def assert_only_this_machine_reaches(running: list[psutil.Process]) -> None:
    """Whoever listens does so on the loopback interface; the servers on none."""
    listening = {(one.name(), at.laddr.ip) for one in running for at in listeners(one)}
    assert {address for _, address in listening} == {"127.0.0.1"}
    assert not {name for name, _ in listening} & {"postgres", "valkey-server"}


def listeners(process: psutil.Process) -> list[Any]:
    return [one for one in process.net_connections(kind="inet") if one.status == psutil.CONN_LISTEN]


def assert_flower_wants_its_password(line: str) -> None:
    found = re.search(r"http://(.*):(\d+)  user (\S+), password (\S+)", line)
    assert found is not None
    host, port, user, password = found.groups()
    token = b64encode(f"{user}:{password}".encode()).decode()
    assert get(host, int(port), {}) == http.client.UNAUTHORIZED
    assert get(host, int(port), {"Authorization": f"Basic {token}"}) == http.client.OK
    for process in psutil.process_iter(["cmdline"]):
        assert not any(password in argument for argument in process.info["cmdline"] or ())


def assert_prometheus_finds_all(data: Path) -> None:
    """Its configuration is in the data's folder, and every target in it serves."""
    assert "prometheus-targets.json" in (data / "prometheus.yml").read_text()
    targets = json.loads((data / "prometheus-targets.json").read_text())
    assert {target["labels"]["program"] for target in targets} == {"worker1", "upkeep", "exporter"}
    for target in targets:
        [address] = target["targets"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as served:
            assert "cite_agent_build_info" in served.read().decode()


def get(host: str, port: int, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/api/workers", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def environment(tmp_path: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CITE_AGENT_")}
    return ours | {"PYTHONPATH": str(ROOT), "CITE_AGENT_STACK_FILE": str(tmp_path / "stack.json")}
