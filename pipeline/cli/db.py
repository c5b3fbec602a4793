"""`pipeline db`: the database's tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy.exc import OperationalError

from pipeline import settings
from pipeline.cli.commands import group
from pipeline.cli.exits import FAILED
from pipeline.cli.ledger import place
from pipeline.cli.output import AsJson, emit_json
from pipeline.errors import LedgerUnavailable
from pipeline.store import migrate

db = group("The database's tables.", example="pipeline db upgrade")


@db.command("upgrade")
def upgrade() -> None:
    """Bring the database to this version's tables. Workers may run meanwhile; two at once do no harm.

    Example: pipeline db upgrade
    """
    with _connecting() as url:
        migrate.upgrade(url)
    typer.echo("The database is up to date")


@db.command("check")
def check(*, as_json: AsJson = False) -> None:
    """List how the database differs from this version's tables. Exits 1 when it does.

    Example: pipeline db check
    """
    with _connecting() as url:
        found = migrate.drift(url)
    if as_json:
        emit_json(found)
    else:
        typer.echo("\n".join(found) or "The database has this version's tables")
    if found:
        raise typer.Exit(FAILED)


@contextmanager
def _connecting() -> Iterator[str]:
    """The database's URL. Raises LedgerUnavailable that says where Postgres does not answer, or why it gave up."""
    url = settings.current().database
    try:
        yield url
    except OperationalError as fault:
        why = " ".join(str(fault.orig).split())
        raise LedgerUnavailable(f"Postgres at {place(url)}: {why}") from fault
