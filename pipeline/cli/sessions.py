"""`pipeline sessions`: the conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import archiving, erasing, exporting
from pipeline.cli.commands import group
from pipeline.cli.filters import Limit
from pipeline.cli.ledger import ledger
from pipeline.cli.output import AsJson, console, emit_json, emit_json_list, moment, print_messages, table
from pipeline.errors import InvalidRequest
from pipeline.store import history, queries

sessions = group("The conversations.", example="pipeline sessions list --user ada")

User = Annotated[str, typer.Argument(metavar="USER", help="Whose conversation.")]
Conversation = Annotated[str, typer.Argument(metavar="CONVERSATION", help="Which one.")]
OneOrAll = Annotated[str | None, typer.Argument(metavar="[CONVERSATION]", help="Which one; all of them without it.")]


@sessions.command("list")
def list_(
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    limit: Limit = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List conversations, the one that was active last first.

    Example: pipeline sessions list --user ada
    """
    with ledger() as database:
        found = queries.sessions(database, user_id=user, limit=limit)
    if as_json:
        emit_json(found)
        return
    rows = [(moment(one.last_active_at), one.requests, one.messages, one.user_id, one.conversation_id) for one in found]
    columns = ("LAST ACTIVE (UTC)", "REQUESTS", "MESSAGES", "USER", "CONVERSATION")
    console().print(table(columns, rows, whole=columns[:3]))


@sessions.command("show")
def show(
    user: User,
    conversation: Conversation,
    *,
    whole: Annotated[bool, typer.Option("--all", help="Also what is archived.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a conversation's history, oldest message first. Exits 1 when an archive is damaged, after all the rest.

    Example: pipeline sessions show ada thesis --all
    """
    if whole:
        archiving.show(user, conversation, as_json=as_json)
        return
    with ledger() as database:
        if not queries.sessions(database, user_id=user, conversation_id=conversation):
            raise InvalidRequest("conversation", f"there is none {conversation!r} of user {user!r}")
        messages = history.read(database, user, conversation)
        if as_json:
            emit_json_list(messages)
        else:
            print_messages(messages)


@sessions.command("archive")
def archive(
    user: User,
    conversation: Conversation,
    *,
    whole: Annotated[bool, typer.Option("--whole", help="Leave nothing hot, not even the recent context.")] = False,
) -> None:
    """Archive a conversation now, whether it is due or not.

    Example: pipeline sessions archive ada thesis
    """
    archiving.archive(user, conversation, whole=whole)


@sessions.command("restore")
def restore(
    user: User,
    conversation: Conversation,
    first: Annotated[
        int, typer.Option("--from", min=1, help="Only from this message on, or from where its archive begins.")
    ] = 1,
) -> None:
    """Bring a conversation's archived messages back to Postgres, for the grace time that is set.

    Example: pipeline sessions restore ada thesis --from 120
    """
    archiving.restore(user, conversation, first=first)


@sessions.command("export")
def export(
    user: User,
    conversation: OneOrAll = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, instead of standard output.")] = None,
    *,
    as_lines: Annotated[bool, typer.Option("--lines", help="A message a line, instead of one document.")] = False,
) -> None:
    """Write a conversation, or all of a user's, with what is archived, as JSON: the format is that of the archives.

    Exits 1 when an archive is damaged, after all the rest.

    Example: pipeline sessions export ada thesis --output thesis.json
    """
    exporting.export(user, conversation, as_lines=as_lines, output=output)


@sessions.command("erase")
def erase(
    user: User,
    conversation: OneOrAll = None,
    *,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a conversation, or all of a user's, for good: messages, archives, requests, streams. Prints the receipt.

    Exits 1 when not everything could be removed yet; the workers' upkeep goes on
    with that.

    Example: pipeline sessions erase ada thesis --yes
    """
    erasing.erase(user, conversation, sure=sure, as_json=as_json)


@sessions.command("receipt")
def receipt(
    id_: Annotated[str, typer.Argument(metavar="RECEIPT", help="Its id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print the receipt of an erasure. Exits 1 when it is not complete yet.

    Example: pipeline sessions receipt 4f0c6a52-58a4-4b54-8c3f-0a3d7a6c8b0e
    """
    erasing.receipt(id_, as_json=as_json)
