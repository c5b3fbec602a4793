"""An embedded Postgres: durable as in production, reached through a socket that only its owner can open."""

from __future__ import annotations

import os
import signal
import sys
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from pipeline.local import accounts, binaries, process
from pipeline.local.errors import LocalStackError
from pipeline.local.process import Launch
from pipeline.local.program import START_TIMEOUT
from pipeline.local.server import Server

StopMode = Literal["smart", "fast", "immediate"]

#: Waits for its clients; throws them out; ends as in a crash, so that the next start recovers from the log.
SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
USER = DATABASE = "pipeline"
#: Also the number in the socket's name.
PORT = 5432

SETTINGS: dict[str, str | int] = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "max_connections": 100,
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # a failed statement and the row it was about may hold what a user wrote
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def url_of(sockets: Path, database: str) -> str:
    """Where a Postgres with its socket in that folder is found. The port is named, for PGPORT may say another."""
    return f"postgresql://{USER}@/{database}?host={quote(str(sockets), safe='')}&port={PORT}"


class Postgres(Server):
    """A Postgres on a data folder; as root it runs as another user, who owns the folder."""

    process_name = "postgres"
    orderly = stop_signal = SIGNALS["fast"]

    def __init__(self, data: Path, sockets: Path, *, log: Path | None = None, name: str = "postgres") -> None:
        super().__init__(data, sockets, name=name, log=log, account=accounts.for_postgres(data))

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of one of its databases."""
        return url_of(self.sockets, database)

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start it, on new data where there are none, and wait until it serves. Raises NotReady."""
        super().start(timeout)
        self.ensure_database()

    def stop(self, grace: float = 20.0, *, mode: StopMode = "fast") -> None:
        """Stop it in that mode; what takes longer than `grace` seconds is stopped as in a crash, then killed."""
        self._send(SIGNALS[mode])
        if self.wait(grace):
            return
        self._send(SIGNALS["immediate"])
        if not self.wait(grace):
            self.kill()

    def is_ready(self) -> bool:
        if not self.alive:
            return False
        try:
            psycopg.connect(self.url_of("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def ensure_database(self, name: str = DATABASE) -> None:
        """Create that database where it is missing."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def prepare(self) -> Launch:
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        command = [self._program("postgres"), "-D", self._data_as_seen, "-k", str(self.sockets), *settings]
        return self._launching(command, signal.SIGINT)

    def _end_orphans(self) -> None:
        super()._end_orphans()
        # A process id that was used again would look like a running server. Nobody works here: we have just looked.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self) -> None:
        """Make a new cluster. One whose making was cut short has no PG_VERSION as its mark, and is made anew."""
        command = [
            self._program("initdb"),
            "-D",
            self._data_as_seen,
            "-U",
            USER,
            "--auth-local=trust",
            "--auth-host=reject",
        ]
        initdb = process.spawn(self._launching([*command, "--encoding=UTF8", "--locale=C"], signal.SIGKILL))
        try:
            failed = initdb.wait()
        except BaseException:
            # Interrupted: whoever then removes the folder must not meet one who still writes there.
            makers = process.family(initdb.pid)
            process.send(makers, signal.SIGKILL)
            initdb.wait()
            process.wait_until(lambda: process.all_gone(makers), 10)
            raise
        if failed:
            raise LocalStackError(f"initdb failed; the end of {self.log}:\n{process.tail(self.log)}")

    @cached_property
    def _install(self) -> Path:
        written_by = self.data / "PG_VERSION"
        version = written_by.read_text().strip() if written_by.exists() else None
        return binaries.readable_by(self.account, binaries.postgres(version))

    def _program(self, name: str) -> str:
        return str(self._install / "bin" / name)

    @property
    def _data_as_seen(self) -> str:
        """The data folder's path for the server: its user may not be able to walk there, but is put there."""
        return "/proc/self/cwd" if self.account and sys.platform == "linux" else str(self.data)

    def _launching(self, command: list[str], death_signal: signal.Signals) -> Launch:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
        return Launch(command, self.log, environment, self.data, self.account, death_signal)
