"""What a stack runs beside its servers: the commands that a Celery user knows, and how each tells that it is ready."""

from __future__ import annotations

import http.client
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.local.process import Launch
from pipeline.local.program import Program, has_said

HOST = "127.0.0.1"
#: What a Celery worker logs once it takes work.
WORKER_READY = " ready."
#: Slots of the worker for what nobody waits for.
UPKEEP_SLOTS = 4
#: Every name that a program of a stack has, and so has its log.
NAMES = re.compile(r"postgres|valkey|simulator|worker[0-9]+|upkeep|exporter|beat|flower")


@dataclass(frozen=True, slots=True)
class Roster:
    """Makes the programs of one stack. `environment` is theirs, on top of ours."""

    data: Path
    environment: Mapping[str, str]

    def simulator(self, port: int) -> Program:
        """A provider that answers without a model."""
        command = ["-m", "pipeline.providers.simulator", "--port", str(port)]
        return self._python("simulator", command, ready=answers(port, "/health"))

    def worker(self, number: int, metrics_port: int) -> Program:
        """A worker for requests; pool and slots come from the settings."""
        return self._worker(f"worker{number}", metrics_port)

    def upkeep(self, metrics_port: int) -> Program:
        """A small worker for archiving and maintenance."""
        return self._worker("upkeep", metrics_port, "-Q", "archive,maintenance", "-c", str(UPKEEP_SLOTS))

    def exporter(self, port: int) -> Program:
        """What the whole is doing, for Prometheus."""
        command = ["-m", "pipeline", "exporter", "--host", HOST, "--port", str(port)]
        return self._python("exporter", command, ready=answers(port, "/metrics"))

    def beat(self) -> Program:
        """The clock."""
        return self._celery("beat", "beat", "-s", str(self.data / "beat-schedule"), "--pidfile=")

    def flower(self, port: int, user: str, password: str) -> Program:
        """What an operator looks at. The password is not among the arguments, which every user of a machine can see."""
        arguments = [f"--address={HOST}", f"--port={port}"]
        secret = {"FLOWER_BASIC_AUTH": f"{user}:{password}"}
        return self._celery("flower", "flower", *arguments, ready=answers(port, "/healthcheck"), environment=secret)

    def _worker(self, name: str, metrics_port: int, *arguments: str) -> Program:
        where = {"CITE_AGENT_METRICS_HOST": HOST, "CITE_AGENT_METRICS_PORT": str(metrics_port)}
        command = ["-n", f"{name}@%h", *arguments, "-E"]
        return self._celery(name, "worker", *command, ready=has_said(WORKER_READY), environment=where)

    def _celery(
        self,
        name: str,
        verb: str,
        *arguments: str,
        ready: Callable[[Program], bool] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        level = [] if verb == "flower" else ["--loglevel", "INFO"]
        command = ["-m", "celery", "-A", "pipeline", verb, *arguments, *level]
        return self._python(name, command, ready=ready, environment=environment)

    def _python(
        self,
        name: str,
        arguments: list[str],
        *,
        ready: Callable[[Program], bool] | None,
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment, **(environment or {})}
        return Program(name, Launch([sys.executable, *arguments], self.log(name), variables), ready=ready)

    def log(self, name: str) -> Path:
        """Where that program's output goes."""
        return self.data / "logs" / f"{name}.log"


def is_ours(name: str) -> bool:
    """Whether a program of a stack has that name."""
    return NAMES.fullmatch(name) is not None


def answers(port: int, path: str) -> Callable[[Program], bool]:
    """Ready once a GET there is answered with 200."""

    def ask(_: Program) -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
