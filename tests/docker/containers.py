"""The containers of these tests: a broker and a Postgres to break, a simulator, and workers of the built image."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from typing import Any

import psycopg
from pytest_celery import CeleryTestContainer, CeleryWorkerContainer, RedisContainer

#: By the same names as in docker-compose.yml.
PYTHON_IMAGE = os.environ.get("PYTHON_IMAGE", "python:3.13-slim")
POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE", "postgres:17")
BROKER_IMAGE = os.environ.get("BROKER_IMAGE", "redis:8")
PROMETHEUS_IMAGE = os.environ.get("PROMETHEUS_IMAGE", "prom/prometheus:v3.5.0")

HOST = "127.0.0.1"
PASSWORD = "only-for-tests"


def on_a_free_port(port: str) -> dict[str, tuple[str, int]]:
    """Publish a container's port on a free one of loopback, which it keeps when its network comes and goes."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return {port: (HOST, probe.getsockname()[1])}


class Breakable(CeleryTestContainer):  # type: ignore[misc]  # ships no types
    """A container that can be frozen and cut off."""

    def freeze(self) -> None:
        self._container.pause()

    def thaw(self) -> None:
        self._container.unpause()

    def published(self, port: str) -> int:
        """Where its port is to be found on this machine, whether or not this machine is itself a container."""
        return int(self.attrs["HostConfig"]["PortBindings"][port][0]["HostPort"])


class Broker(Breakable, RedisContainer):  # type: ignore[misc]
    """Redis as in docker-compose.yml."""

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        durable = ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
        return ["redis-server", *durable, *args]

    @property
    def port(self) -> int:
        return self.published("6379/tcp")

    @property
    def host_url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


class Postgres(Breakable):
    """The ledger's server."""

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{PASSWORD}@{self.attrs['Config']['Hostname']}:5432/postgres"

    @property
    def host_url(self) -> str:
        return f"postgresql://postgres:{PASSWORD}@{HOST}:{self.published('5432/tcp')}/postgres"

    def ready(self) -> bool:
        # Not by its log: the server that prepares a fresh cluster says that it is ready, too.
        self.reload()
        try:
            psycopg.connect(self.host_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class Simulator(Breakable):
    """A provider whose latency a test sets."""

    @property
    def url(self) -> str:
        return f"http://{self.attrs['Config']['Hostname']}:8000/v1"

    def answer_after(self, seconds: float) -> None:
        """Let every call from now on take so long."""
        behaviour = json.dumps({"latency": {"kind": "fixed", "seconds": seconds}}).encode()
        url = f"http://{HOST}:{self.published('8000/tcp')}/_simulator/behaviour"
        request = urllib.request.Request(url, behaviour, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()


class Worker(CeleryWorkerContainer):  # type: ignore[misc]
    """A worker of the built image, started as docker-compose.yml starts it."""

    @classmethod
    def worker_name(cls) -> str:
        return "celery"

    @classmethod
    def worker_queue(cls) -> str:
        return "urgent,normal,batch"

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        return ["celery", "-A", "pipeline", "worker", "--loglevel=INFO", "-E", *args]

    @property
    def node(self) -> str:
        """Its name in Celery and in the ledger."""
        return f"{self.worker_name()}@{self.attrs['Config']['Hostname']}"

    def is_healthy(self) -> bool:
        """What its health check says."""
        return bool(self.exec_run(["python", "/opt/pipeline/bin/worker_health.py"])[0] == 0)
