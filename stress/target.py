"""What is put under load: a stack of its own, or a pipeline that runs already."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from pipeline.cli.demo.alone import alone
from pipeline.cli.ledger import place
from pipeline.errors import PipelineError
from pipeline.local.program import Program
from pipeline.local.stack import LocalStack, Parts
from pipeline.schemas import Priority
from pipeline.settings import Settings, current
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.transport.address import connection_options
from stress.attaching import PATIENCE, reaching
from stress.looks import Roots
from stress.plan import Plan

#: Of the workers that the ledger knows, those whose lease runs.
LIVE = "SELECT pid FROM workers WHERE lease_until > now()"


@dataclass(frozen=True, slots=True)
class Target:
    """A pipeline, and what of it can be seen from here. `parts` are the processes on this machine, by their role.

    `environment` is that of a process that is to reach it. `stack` is the embedded one, where there is one; `metrics`
    tells where its processes serve what they count, for Prometheus.
    """

    settings: Settings
    environment: Mapping[str, str]
    parts: Mapping[str, Roots] = field(default_factory=dict)
    stack: LocalStack | None = None
    simulator_url: str | None = None
    metrics: Callable[[], Sequence[str]] = tuple

    @property
    def workers(self) -> Roots:
        """The workers' processes, as far as they can be seen."""
        return self.parts.get("workers", lambda: None)

    def play(self, behaviour: Mapping[str, Any]) -> None:
        """Have the simulator behave so from now on. Raises PipelineError where it does not, or is none."""
        if self.simulator_url is None:
            raise PipelineError("There is no simulator whose behaviour could be set: its URL is not known")
        connection = http.client.HTTPConnection(urlsplit(self.simulator_url).netloc, timeout=5)
        try:
            connection.request("POST", "/_simulator/behaviour", json.dumps(behaviour))
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise PipelineError(f"The simulator did not take its behaviour: {answer.read().decode()}")
        finally:
            connection.close()


@contextmanager
def embedded(plan: Plan, report: Callable[[str], None]) -> Iterator[Target]:
    """A stack of its own in a temporary folder: servers, simulator, workers, upkeep, beat. No setting of the user's
    environment reaches it, only those of the plan."""
    with alone() as folder:
        chosen = {f"CITE_AGENT_{name.upper()}": value for name, value in plan.settings.items()}
        os.environ.update(chosen)
        parts = Parts(workers=plan.workers, flower=False)
        with LocalStack(folder / "data", parts, announced=False, report=report) as stack:
            yield of_stack(stack, plan)


def of_stack(stack: LocalStack, plan: Plan) -> Target:
    """The target that a running embedded stack is, its simulator behaving as planned."""
    urls = {"CITE_AGENT_DATABASE_URL": stack.database_url, "CITE_AGENT_BROKER_URL": stack.broker_url}
    settings = _settings(stack.database_url, stack.broker_url)
    named = {program.name: program for program in stack.programs}
    workers = list(stack.workers)
    serving = {worker.name for worker in workers}
    others = [program for name, program in named.items() if name in ("upkeep", "beat")]
    target = Target(
        settings=settings.model_copy(update={"cold_storage_url": stack.cold_storage_url}),
        environment={**os.environ, **urls},
        parts={
            "workers": lambda: _running(workers),
            "postgres": lambda: _running([named[name] for name in named if name.startswith("postgres")]),
            "broker": lambda: _running([named[name] for name in named if name.startswith("valkey")]),
            "simulator": lambda: _running([named["simulator"]]),
            "upkeep": lambda: _running(others),
        },
        stack=stack,
        simulator_url=stack.simulator_url,
        metrics=lambda: [
            f"http://127.0.0.1:{port}/metrics" for name, port in stack.metrics_ports.items() if name in serving
        ],
    )
    target.play(plan.profile.behaviour())
    return target


@contextmanager
def attached(
    plan: Plan,
    *,
    database_url: str | None = None,
    broker_url: str | None = None,
    simulator_url: str | None = None,
    metrics_url: Sequence[str] = (),
) -> Iterator[Target]:
    """A pipeline that runs: the one at the URLs, or that of the environment's settings or state file.

    Its workers are watched as far as they run on this machine; the simulator is set where its URL is given. Raises
    ConfigurationError where Postgres, broker or simulator do not answer.
    """
    settings = current()
    database, broker = database_url or settings.database, broker_url or settings.broker
    store = Database(database, size=1)
    urls = {"CITE_AGENT_DATABASE_URL": database, "CITE_AGENT_BROKER_URL": broker}
    try:
        given = _settings(database, broker)
        if database_url is None:  # what it has archived is where it says, too
            given = given.model_copy(update={"cold_storage_url": settings.cold_storage})
        target = Target(
            settings=given,
            environment={**os.environ, **urls},
            parts={
                "workers": lambda: live_workers(store),
                **_servers(database, broker),
            },
            simulator_url=simulator_url,
            metrics=lambda: metrics_url,
        )
        if simulator_url:
            with reaching("The simulator", simulator_url, "another --simulator-url"):
                target.play(plan.profile.behaviour())
        yield target
    finally:
        store.close()


def live_workers(store: Database) -> list[psutil.Process] | None:
    """The workers whose lease runs, where they are processes of this machine; None while the ledger is away."""
    try:
        with store.connection() as connection:
            pids = [row[0] for row in connection.execute(LIVE)]
    except UNAVAILABLE:
        return None
    return [process for process in map(_worker, pids) if process is not None]


def _worker(pid: int) -> psutil.Process | None:
    """The process, if it is here and looks like one: a worker elsewhere may have the number of anything here."""
    try:
        process = psutil.Process(pid)
        return process if takes_requests(process.cmdline()) else None
    except psutil.Error:
        return None


def takes_requests(command: Sequence[str]) -> bool:
    """Whether a command line is that of a worker for requests: one for upkeep names queues of its own."""
    if "worker" not in command:
        return False
    named = [after for option, after in itertools.pairwise(command) if option in ("-Q", "--queues")]
    named += [option.partition("=")[2] for option in command if option.startswith("--queues=")]
    queues = {queue for given in named for queue in given.split(",")}
    return not queues or not queues.isdisjoint(priority.name for priority in Priority)


def _settings(database: str, broker: str) -> Settings:
    return current().model_copy(update={"database_url": SecretStr(database), "broker_url": SecretStr(broker)})


def _running(programs: Sequence[Program]) -> list[psutil.Process]:
    return [psutil.Process(program.pid) for program in programs if program.alive and program.pid]


def _servers(database: str, broker: str) -> dict[str, Roots]:
    """The servers' processes, where they are on this machine. Raises ConfigurationError where one does not answer."""
    found: dict[str, Roots] = {}
    seconds = int(conninfo_to_dict(database).get("connect_timeout") or PATIENCE)
    with (
        reaching("Postgres", place(database), "another --database-url"),
        psycopg.connect(database, autocommit=True, connect_timeout=seconds) as connection,
    ):
        backend = _named(connection.info.backend_pid, "postgres")
        parent = backend.parent() if backend else None
        if parent:
            found["postgres"] = lambda: [parent]
    with (
        reaching("The broker", _place_of_broker(broker), "another --broker-url"),
        redis.Redis.from_url(broker, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE) as server,
    ):
        process = _named(int(server.info("server")["process_id"]), "valkey", "redis")
        if process:
            found["broker"] = lambda: [process]
    return found


def _place_of_broker(url: str) -> str:
    """Host and port, or the path of its socket, without the password that the URL may hold."""
    options = connection_options(url)
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _named(pid: int, *names: str) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return process if any(name in process.name() for name in names) else None
    except psutil.Error:
        return None


def machine() -> str:
    """What it runs on."""
    memory = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}, {platform.system()}"
