"""What the commands on archives do: open what the settings name, do it, say what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from uuid import UUID

import typer

from pipeline import settings
from pipeline.archive import reading, restoring
from pipeline.archive.archiver import Archiver, Report
from pipeline.archive.assembly import archiver
from pipeline.archive.storage import Storage, open_storage
from pipeline.cli.exits import FAILED
from pipeline.cli.ledger import ledger
from pipeline.cli.output import emit_json_list, print_messages
from pipeline.errors import ArchiveDamaged, LedgerUnavailable
from pipeline.providers.registry import Providers
from pipeline.store import archives
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.worker.routes import routed


@contextmanager
def opened() -> Iterator[tuple[Database, Storage]]:
    """The database and the cold storage. Raises LedgerUnavailable where the first does not answer."""
    with ledger() as database:
        try:
            yield database, open_storage(settings.current().cold_storage)
        except UNAVAILABLE as fault:
            raise LedgerUnavailable from fault


@contextmanager
def at_work() -> Iterator[Archiver]:
    """An archiver of this process."""
    given = settings.current()
    with closing(Providers(given)) as providers, opened() as (database, _):
        router = routed(providers, given, database)
        with nullcontext() if router is None else closing(router):
            yield archiver(given, database, router)


def show(user: str, conversation: str, *, as_json: bool) -> None:
    """Print all messages, those that are archived too; name each archive that cannot be read."""
    damaged: list[ArchiveDamaged] = []

    def tell(damage: ArchiveDamaged) -> None:
        damaged.append(damage)
        typer.echo(f"pipeline: {damage}", err=True)

    with opened() as (database, storage):
        session = archives.standing(database, user, conversation)
        messages = reading.messages(database, storage, session.session_id, on_damage=tell)
        if as_json:
            emit_json_list(messages)
        else:
            print_messages(messages)
    if damaged:
        raise typer.Exit(FAILED)


def archived(database: Database, request_id: UUID) -> list[tuple[str, str]]:
    """What was said for a request, as role and content, from its archive; nothing where that has expired."""
    storage = open_storage(settings.current().cold_storage)
    return [(one.role, one.content) for one in reading.said(database, storage, request_id)]


def archive(user: str, conversation: str, *, whole: bool) -> None:
    """Archive one conversation now."""
    with at_work() as archiving:
        session = archives.standing(archiving.database, user, conversation)
        _tell(archiving.archive([session.session_id], force=True, whole=whole))


def restore(user: str, conversation: str, *, first: int) -> None:
    """Bring one conversation back."""
    hours = settings.current().restore_grace_hours
    with opened() as (database, storage):
        done = restoring.restore(database, storage, user, conversation, grace=hours * 3600, first=first)
    if done.archives:
        typer.echo(f"Restored {done.messages} message(s) of {done.archives} archive(s), hot for {hours:g} h at least")
    else:
        typer.echo("Nothing of it is archived")


def sweep(most: int) -> None:
    """Archive what is due, in this process."""
    with at_work() as archiving:
        _tell(archiving.archive(archives.due(archiving.database, archiving.rules, most=most)))


def _tell(report: Report) -> None:
    typer.echo(f"Archived {report.messages} message(s) in {report.archives} archive(s)")
    if report.failed:
        typer.echo(f"pipeline: {report.failed} archive(s) could not be written; they are tried again later", err=True)
        raise typer.Exit(FAILED)
