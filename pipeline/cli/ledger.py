"""The database that the settings, or the running stack, name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict

from pipeline import settings
from pipeline.errors import LedgerUnavailable
from pipeline.store.database import Database
from pipeline.store.measures import inheritance


@contextmanager
def ledger() -> Iterator[Database]:
    """Open for as long as the block runs; what the block has counted is left for the exporter to serve.

    Raises ConfigurationError, or LedgerUnavailable that says where it is not.
    """
    url = settings.current().database
    database = Database(url)
    answers = True
    try:
        yield database
    except LedgerUnavailable as fault:
        answers = False
        raise LedgerUnavailable(f"Postgres does not answer at {place(url)}") from fault
    finally:
        if answers:
            inheritance.leave(database)
        database.close()


def place(url: str) -> str:
    """Host, port and database of a URL, without the password that it may hold."""
    given = conninfo_to_dict(url)
    host, port = given.get("host", "localhost"), given.get("port", 5432)
    return f"{host}:{port}, database {given.get('dbname', given.get('user', ''))!r}"
