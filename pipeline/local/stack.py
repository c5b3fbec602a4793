"""A whole pipeline on this machine: servers, migrations, simulator, workers, beat and Flower, as one."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import OperationalError

from pipeline import stackfile
from pipeline.errors import LedgerUnavailable
from pipeline.local import accounts, folders, roster, scraping
from pipeline.local.announcement import announce, refuse_second, withdraw
from pipeline.local.postgres import Postgres
from pipeline.local.process import POLL
from pipeline.local.program import Program
from pipeline.local.roster import HOST, Roster
from pipeline.local.server import Server
from pipeline.local.supervisor import Supervisor
from pipeline.local.valkey import Valkey
from pipeline.settings import Settings, current
from pipeline.store import migrate

log = structlog.get_logger(__name__)

#: Seconds that workers get on top of their own stop time-out before they are killed.
STOP_MARGIN = 5.0
FLOWER_USER = "pipeline"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a stack runs beside its servers. Without configured providers `simulator` starts one that needs no model."""

    workers: int = 2
    upkeep: bool = True
    beat: bool = True
    flower: bool = True
    simulator: bool = True
    exporter: bool = True


class LocalStack:
    """A running stack between `start()` and `stop()`, or within `with`.

    `environment` is given to the programs on top of ours; `report` gets a line for each thing that happens;
    `announced` writes the state file by which clients without any setting find the stack. `standby` are providers
    that stand in for the simulator.
    """

    def __init__(
        self,
        data: Path | None = None,
        parts: Parts | None = None,
        *,
        announced: bool = True,
        settings: Settings | None = None,
        environment: Mapping[str, str] | None = None,
        report: Callable[[str], None] | None = None,
        standby: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.data = (data or folders.default_data()).absolute()
        self.parts = parts or Parts()
        self.settings = settings or current()
        self.report = report or (lambda line: log.info("local_stack", what=line))
        self.database_url = self.broker_url = ""
        #: Within the data, unless it is set.
        self.cold_storage_url = self.settings.given_cold_storage or str(self.data / "archives")
        self.simulator_url: str | None = None
        self.flower_url: str | None = None
        self.metrics_ports: dict[str, int] = {}
        self.flower_password = secrets.token_urlsafe(16)
        self.servers: list[Server] = []
        self.workers: list[Program] = []
        self._others: list[Program] = []
        self._simulator: Program | None = None
        self._environment = dict(environment or {})
        self._announced = announced
        self._standby = standby
        self._lock = folders.DataLock(self.data)
        self._supervisor = Supervisor(self.report)
        self._interrupted = threading.Event()
        self._hurried = threading.Event()

    def start(self) -> None:
        """Start all of it and wait until it is ready; what was started is stopped again where something fails.

        Raises DataInUse, DataRefused, NotReady, StackInterrupted, or another LocalStackError; LedgerUnavailable for a
        configured Postgres that does not answer.
        """
        self.start_serving()
        self.start_operating()

    def start_serving(self) -> None:
        """Start what answers requests: servers, simulator and workers. Raises as `start()` does."""
        if self._announced:
            refuse_second()
        self._lock.acquire()
        with self._all_or_nothing():
            self._clear_logs()
            self._start_servers()
            self.report("Bringing the database up to date")
            self._upgrade()
            self._start_answering()
            if self._announced:
                announce(self._addresses())

    def start_upkeep(self) -> None:
        """Start the worker for upkeep, if it is to be one, before the rest."""
        with self._all_or_nothing():
            if self.parts.upkeep:
                self._launch(self._roster.upkeep(self._port_of("upkeep")), self._others)
                self._await(self._others)

    def start_operating(self) -> None:
        """Start the rest, when the workers no longer need the processors to start: upkeep, beat, Flower."""
        started = len(self._others)
        with self._all_or_nothing():
            if self.parts.upkeep and not started:
                self._launch(self._roster.upkeep(self._port_of("upkeep")), self._others)
            if self.parts.beat:
                self._launch(self._roster.beat(), self._others)
            if self.parts.exporter:
                self._launch(self._roster.exporter(self._port_of("exporter")), self._others)
            scraping.write(self.data, self.metrics_ports)
            if self.parts.flower:
                port = roster.free_port()
                self.flower_url = f"http://{HOST}:{port}"
                self._launch(self._roster.flower(port, FLOWER_USER, self.flower_password), self._others)
            self._await(self._others[started:])
            if self._announced:
                announce(self._addresses())

    def stop(self) -> None:
        """Stop all of it in order: what takes work first, what keeps it last. Stopping twice does no harm."""
        self._supervisor.stop()
        if self._announced:
            withdraw()
        self._stop_all([*reversed(self._others), *self.workers], self.settings.stop_timeout + STOP_MARGIN)
        self._stop_all([self._simulator] if self._simulator else [], STOP_MARGIN)
        for server in reversed(self.servers):
            server.stop()
        self._lock.release()

    def wait(self) -> None:
        """Until `interrupt()` is called."""
        self._interrupted.wait()

    def interrupt(self) -> None:
        """Have `wait()` or a `start()` under way end; called again, have `stop()` kill what has not ended."""
        (self._hurried if self._interrupted.is_set() else self._interrupted).set()

    def kill_worker(self, index: int) -> None:
        """SIGKILL that worker; the supervisor starts it again after a while."""
        self.workers[index].kill()

    @property
    def programs(self) -> list[Program]:
        """Everything that runs, in the order in which it was started."""
        simulator = [self._simulator] if self._simulator else []
        return [*self.servers, *simulator, *self.workers, *self._others]

    def _start_servers(self) -> None:
        given_database, given_broker = self.settings.database_url, self.settings.broker_url
        if given_broker is None:
            valkey = Valkey(self.data / "valkey", self._lock.sockets(), log=self._log("valkey"))
            self._launch(valkey, self.servers)
        if given_database is None:
            account = accounts.for_postgres(self.data / "postgres")
            postgres = Postgres(self.data / "postgres", self._lock.sockets(account), log=self._log("postgres"))
            self._launch(postgres, self.servers)
        for server in self.servers:
            server.wait_until_ready(unless=self._interrupted)
        if given_database is None:
            postgres.ensure_database()
        self.database_url = given_database.get_secret_value() if given_database else postgres.url
        self.broker_url = given_broker.get_secret_value() if given_broker else valkey.url

    def _upgrade(self) -> None:
        try:
            migrate.upgrade(self.database_url)
        except OperationalError as fault:
            why = " ".join(str(fault.orig).split())
            raise LedgerUnavailable(f"CITE_AGENT_DATABASE_URL: {why}") from fault

    def _start_answering(self) -> None:
        if self.parts.simulator and not self.settings.providers:
            port = roster.free_port()
            self.simulator_url = f"http://{HOST}:{port}/v1"
            self._simulator = self._roster.simulator(port)
            self._launch(self._simulator)
        for number in range(1, self.parts.workers + 1):
            self._launch(self._roster.worker(number, self._port_of(f"worker{number}")), self.workers)
        self._await(self.programs)

    def _await(self, programs: list[Program]) -> None:
        for program in programs:
            program.wait_until_ready(unless=self._interrupted)
        self._supervisor.watch(programs)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.stop()
            raise

    @property
    def _roster(self) -> Roster:
        variables = {
            "CITE_AGENT_DATABASE_URL": self.database_url,
            "CITE_AGENT_BROKER_URL": self.broker_url,
            "CITE_AGENT_COLD_STORAGE_URL": self.cold_storage_url,
        }
        if self.simulator_url:
            provider = {"name": "simulator", "base_url": self.simulator_url, "model": "simulated"}
            variables["CITE_AGENT_PROVIDERS"] = json.dumps([provider, *self._standby])
        return Roster(self.data, {**variables, **self._environment})

    def _launch(self, program: Program, group: list[Program] | list[Server] | None = None) -> None:
        if group is not None:
            group.append(program)  # type: ignore[arg-type]  # a list of servers is given servers
        self.report(f"Starting {program.name}")
        program.launch()

    def _stop_all(self, programs: list[Program], grace: float) -> None:
        running = [program for program in programs if program.alive]
        for program in running:
            self.report(f"Stopping {program.name}")
            program.ask_to_stop()
        end = time.monotonic() + grace
        while any(program.alive for program in running) and time.monotonic() < end and not self._hurried.is_set():
            time.sleep(POLL)
        for program in running:
            program.kill()

    def _addresses(self) -> stackfile.Stack:
        flower = (self.flower_url, FLOWER_USER, self.flower_password) if self.flower_url else (None, None, None)
        stack = stackfile.Stack(os.getpid(), self.database_url, self.broker_url, self.simulator_url, *flower)
        return replace(stack, cold_storage_url=self.cold_storage_url)

    def _port_of(self, name: str) -> int:
        """Where that program's metrics are to be."""
        self.metrics_ports[name] = roster.free_port()
        return self.metrics_ports[name]

    def _log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"

    def _clear_logs(self) -> None:
        for old in folders.private(self.data / "logs").glob("*.log"):
            if roster.is_ours(old.stem):
                old.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
