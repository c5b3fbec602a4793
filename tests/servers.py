"""Real servers for tests: one Postgres for a whole run, and servers of a test's own to break."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg
import redis
from psycopg import sql

from pipeline.local import accounts, folders, process
from pipeline.local.postgres import DATABASE, Postgres, url_of
from pipeline.local.valkey import Valkey

T = TypeVar("T")

#: Seconds until the shared Postgres must be there, on a busy machine.
START_TIMEOUT = 90.0


def eventually(condition: Callable[[], T], timeout: float = 60.0, *, what: str = "") -> T:
    """What `condition` returns as soon as that is true; fails after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (held := condition()):
        assert time.monotonic() < end, f"not within {timeout:g} s: {what or condition}"
        time.sleep(process.POLL)
    return held


def quickest(take: Callable[[], float], limit: float, tries: int = 5) -> float:
    """The fewest seconds that `take` says it took, of as many tries as it needs to stay under `limit`.

    A busy machine makes one try slow, or two; a defect makes all of them slow.
    """
    took = [take()]
    while min(took) >= limit and len(took) < tries:
        took.append(take())
    return min(took)


def seconds_of(act: Callable[[], object]) -> float:
    """How many seconds that takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


class Broker(Valkey):
    """A test's own Valkey. `kill`, `restart`, `freeze` and `thaw` are the server's verbs; one more is needed here."""

    def flush(self) -> None:
        """Lose everything, and stay up."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            client.flushall()


class SharedPostgres:
    """The Postgres that all tests of a run share. It belongs to a process of its own, which ends with the run.

    The first test that needs it starts it. Its database `pipeline` is at the newest revision and stays empty, for tests
    are given clones; `seed` is a copy of its data for servers of a test's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seed = folder / "seed"
        self._sockets: Path | None = None

    def start_once(self, *, for_process: int) -> None:
        """Start it unless it runs; it ends when that process does."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._ready.exists():
                self._start_keeper(for_process)
            self._sockets = Path(self._ready.read_text())

    def stop(self) -> None:
        """End it now, and wait for that."""
        if not (self.folder / "keeper").exists():
            return
        keepers = process.family(int((self.folder / "keeper").read_text()))[:1]
        process.send(keepers, signal.SIGTERM)
        process.wait_until(lambda: process.all_gone(keepers), 30)

    def url_of(self, database: str) -> str:
        assert self._sockets is not None, "start it first"
        return url_of(self._sockets, database)

    def clone(self, name: str) -> str:
        """A new database with this version's tables; its URL."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, DATABASE)
        return self.url_of(name)

    def drop(self, name: str) -> None:
        """Drop a clone, whoever is connected."""
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def keep(self, owner: int) -> None:
        """Run it, as the keeper, until `owner` ends or SIGTERM comes."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        (self.folder / "keeper").write_text(str(os.getpid()))
        account = accounts.for_postgres(self.folder / "data")
        sockets = folders.for_sockets(account)
        postgres = Postgres(self.folder / "data", sockets)
        try:
            postgres.start()
            self._sow(postgres)
            draft = self.folder / "ready.draft"
            draft.write_text(str(sockets))
            draft.rename(self._ready)
            psutil.Process(owner).wait()
        except psutil.NoSuchProcess:
            pass
        finally:
            postgres.stop(mode="immediate")
            folders.remove_sockets(sockets)
            shutil.rmtree(self.folder)

    @property
    def _ready(self) -> Path:
        return self.folder / "ready"

    def _sow(self, postgres: Postgres) -> None:
        from pipeline.store import migrate  # here, so that tests of the servers alone do without

        migrate.upgrade(postgres.url)
        postgres.stop()
        copy_data(postgres.data, self.seed)
        postgres.start()

    def _start_keeper(self, for_process: int) -> None:
        root = str(Path(__file__).resolve().parents[1])
        log = self.folder.with_suffix(".log")
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        # no Popen: it would complain that the process outlives it, which is the purpose
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, __file__, str(self.folder), str(for_process)],
            {**os.environ, "PYTHONPATH": paths},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setpgroup=0,
        )
        process.wait_until(lambda: self._ready.exists() or os.waitpid(pid, os.WNOHANG)[0] == pid, START_TIMEOUT)
        assert self._ready.exists(), f"the shared Postgres did not start:\n{process.tail(log)}"

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def copy_data(source: Path, target: Path) -> None:
    """Copy a stopped server's data, owners and all."""
    subprocess.run(["cp", "-pR", source, target], check=True)


if __name__ == "__main__":
    SharedPostgres(Path(sys.argv[1])).keep(int(sys.argv[2]))
