"""The servers that both sides share: embedded ones on a temporary folder, or those that the URLs name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from pipeline.local import accounts, folders
from pipeline.local.accounts import Account
from pipeline.local.postgres import Postgres
from pipeline.local.valkey import Valkey
from pipeline.store import migrate
from stress.overhead.bare.schema import TABLE


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they are, and their processes. `durability` is what they say of it."""

    database_url: str
    broker_url: str
    postgres: psutil.Process
    broker: psutil.Process
    durability: dict[str, str]


@contextmanager
def servers(database_url: str | None, broker_url: str | None) -> Iterator[Servers]:
    """Both servers, with both sides' tables. Those on this machine only: their CPU seconds are read."""
    with ExitStack() as stack:
        if database_url is None or broker_url is None:
            database_url, broker_url = stack.enter_context(_embedded())
        migrate.upgrade(database_url)
        with psycopg.connect(database_url) as connection:
            connection.execute(TABLE)
        yield _look_at(database_url, broker_url)


@contextmanager
def _embedded() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, ExitStack() as stack:
        data = Path(folder)
        postgres = Postgres(data / "postgres", _sockets(stack, accounts.for_postgres(data)))
        valkey = Valkey(data / "valkey", _sockets(stack))
        for server in (postgres, valkey):
            server.start()
            stack.callback(server.stop)
        yield postgres.url, valkey.url


def _sockets(stack: ExitStack, account: Account | None = None) -> Path:
    """A folder that goes with the stack. Not below the data: as root, Postgres is another user, who must walk there."""
    folder = folders.for_sockets(account)
    stack.callback(folders.remove_sockets, folder)
    return folder


def _look_at(database_url: str, broker_url: str) -> Servers:
    with psycopg.connect(database_url, autocommit=True) as connection, redis.Redis.from_url(broker_url) as broker:
        backend = psutil.Process(connection.info.backend_pid)
        said = {name: connection.execute(f"show {name}").fetchone() for name in ("fsync", "synchronous_commit")}
        durability = {name: str(value[0]) for name, value in said.items() if value}
        durability |= broker.config_get("appendonly", "appendfsync")
        server = psutil.Process(broker.info("server")["process_id"])
        return Servers(database_url, broker_url, backend.parent() or backend, server, durability)
