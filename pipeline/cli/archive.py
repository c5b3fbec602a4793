"""`pipeline archive`: the archives of all conversations."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli import archiving, verifying
from pipeline.cli.commands import group
from pipeline.cli.output import AsJson

archive = group("The archives of all conversations.", example="pipeline archive sweep")


@archive.callback()
def _archives() -> None:
    """The archives of all conversations."""


@archive.command("sweep")
def sweep(
    most: Annotated[int, typer.Option(min=1, help="At most so many conversations of each kind that is due.")] = 10_000,
) -> None:
    """Archive what is due now, in this process, beside whatever the workers do. Exits 1 when storage fails.

    Example: pipeline archive sweep
    """
    archiving.sweep(most)


@archive.command("verify")
def verify(
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Remove objects that no archive refers to.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read every archive and check it: there, unaltered, complete; and that no conversation lacks a message.

    Exits 1 when something is not as it should be. With --fix, orphans are
    removed: see first that the database and the storage belong together, for
    archives that another database knows are orphans to this one.

    Example: pipeline archive verify --fix
    """
    verifying.verify(fix=fix, as_json=as_json)
