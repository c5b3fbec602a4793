"""What the commands that erase do: ask, erase, show the receipt."""

from __future__ import annotations

import sys

import typer

from pipeline.cli.exits import FAILED
from pipeline.cli.output import console, emit_json, moment, printable
from pipeline.client import Client
from pipeline.errors import InvalidRequest
from pipeline.schemas import Receipt


def erase(user: str, conversation: str | None, *, sure: bool, as_json: bool) -> None:
    """Erase, and show the receipt. Exits 1 when it is not complete."""
    if not sure:
        _ask(user, conversation)
    with Client() as client:
        _show(client.erase(user, conversation), as_json=as_json)


def receipt(id_: str, *, as_json: bool) -> None:
    """Show a receipt. Exits 1 when it is not complete."""
    with Client() as client:
        _show(client.receipt(id_), as_json=as_json)


def lines(receipt: Receipt) -> list[str]:
    """A receipt in words."""
    return [
        f"receipt:   {receipt.id} (of a {'conversation' if receipt.scope == 'session' else 'user'})",
        f"begun:     {moment(receipt.begun_at)} UTC",
        f"complete:  {f'{moment(receipt.finished_at)} UTC' if receipt.complete else 'not yet'}",
        f"sessions:  {receipt.sessions}, of which {receipt.summaries} with a summary",
        f"messages:  {receipt.messages}, of which {receipt.archived} in cold storage ({receipt.archives} archive(s))",
        f"requests:  {receipt.requests}, of which {receipt.cancelled} had no outcome",
        f"attempts:  {receipt.attempts}, with {receipt.calls} call(s)",
    ]


def _show(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        emit_json(receipt)
    else:
        out = console()
        for line in lines(receipt):
            out.print(line, markup=False, soft_wrap=True)
    if not receipt.complete:
        typer.echo("pipeline: not everything could be removed yet; the workers' upkeep goes on", err=True)
        raise typer.Exit(FAILED)


def _ask(user: str, conversation: str | None) -> None:
    what = f"all conversations of user {user!r}" if conversation is None else f"{conversation!r} of user {user!r}"
    if not sys.stdin.isatty():
        raise InvalidRequest("--yes", f"is needed where nobody can be asked whether to erase {printable(what)}")
    typer.confirm(f"Erase {printable(what)}, for good?", abort=True)
