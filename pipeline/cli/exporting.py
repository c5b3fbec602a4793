"""What `pipeline sessions export` does: write, and name what could not be read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import typer

from pipeline.archive.export import Exporter
from pipeline.cli.archiving import opened
from pipeline.cli.exits import FAILED
from pipeline.errors import ArchiveDamaged, InvalidRequest, PipelineError, SessionNotFound
from pipeline.store.archives import audit


def export(user: str, conversation: str | None, *, as_lines: bool, output: Path | None) -> None:
    """Write one conversation, or all of a user's. Exits 1 when an archive could not be read, after all the rest."""
    damaged: list[ArchiveDamaged] = []

    def tell(damage: ArchiveDamaged) -> None:
        damaged.append(damage)
        typer.echo(f"pipeline: {damage}", err=True)

    with opened() as (database, storage):
        first = next(audit.conversations(database, user, conversation), None)
        if first is None:
            raise _refusal(user, conversation)
        exporter = Exporter(database, storage, tell)
        if as_lines:
            pieces = exporter.lines(user, conversation)
        else:
            pieces = exporter.documents(user) if conversation is None else exporter.document(user, first)
        with _written(output) as file:
            for piece in pieces:
                file.write(piece)
    if damaged:
        raise typer.Exit(FAILED)


def _refusal(user: str, conversation: str | None) -> PipelineError:
    if conversation is None:
        return InvalidRequest("user", f"{user!r} has no conversation")
    return SessionNotFound(user, conversation)


@contextmanager
def _written(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that only its owner can read and that is there once it is whole."""
    if output is None:
        yield sys.stdout
        return
    draft = output.with_name(f"{output.name}.part")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as fault:
        raise InvalidRequest("--output", f"{str(output)!r} cannot be written: {fault.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)
