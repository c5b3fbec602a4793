"""The servers that both sides share: embedded ones on a temporary folder, or those that the URLs name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil
import psycopg
import redis

from pipeline.store import migrate
from stress import embedded
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
        if database_url is None:
            database_url = stack.enter_context(embedded.postgres())
        else:
            migrate.upgrade(database_url)
        broker_url = broker_url or stack.enter_context(embedded.valkey())
        with psycopg.connect(database_url) as connection:
            connection.execute(TABLE)
        yield _look_at(database_url, broker_url)


def _look_at(database_url: str, broker_url: str) -> Servers:
    with psycopg.connect(database_url, autocommit=True) as connection, redis.Redis.from_url(broker_url) as broker:
        backend = psutil.Process(connection.info.backend_pid)
        said = {name: connection.execute(f"show {name}").fetchone() for name in ("fsync", "synchronous_commit")}
        durability = {name: str(value[0]) for name, value in said.items() if value}
        durability |= broker.config_get("appendonly", "appendfsync")
        server = psutil.Process(broker.info("server")["process_id"])
        return Servers(database_url, broker_url, backend.parent() or backend, server, durability)
