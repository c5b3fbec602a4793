"""Servers of a measurement's own: embedded, in a temporary folder, as durable as in production."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.local import accounts, folders
from pipeline.local.postgres import Postgres
from pipeline.local.server import Server
from pipeline.local.valkey import Valkey
from pipeline.store import migrate


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server with this version's tables."""
    with tempfile.TemporaryDirectory(prefix="measured-") as folder:
        account = accounts.for_postgres(Path(folder))
        sockets = folders.for_sockets(account)  # not below the data: as root, Postgres is another user, who walks there
        server = Postgres(Path(folder) / "postgres", sockets)
        with _running(server):
            migrate.upgrade(server.url)
            yield server.url


@contextmanager
def valkey() -> Iterator[str]:
    """The URL of a server."""
    with tempfile.TemporaryDirectory(prefix="measured-") as folder:
        server = Valkey(Path(folder) / "valkey", folders.for_sockets())
        with _running(server):
            yield server.url


@contextmanager
def _running(server: Server) -> Iterator[None]:
    """Started within, and gone with its sockets after that."""
    try:
        server.start()
        yield
    finally:
        server.stop()
        folders.remove_sockets(server.sockets)
