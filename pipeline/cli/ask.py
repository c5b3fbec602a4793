"""`pipeline ask`: one message, one answer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.filters import finite
from pipeline.cli.output import AsJson, emit_json, printable
from pipeline.client import Client, Handle

User = Annotated[str, typer.Option("--user", "-u", help="Who asks.")]
Conversation = Annotated[str, typer.Option("--conversation", "-c", help="The conversation it belongs to.")]
Agent = Annotated[str, typer.Option(help="The agent that answers.")]
Priority = Annotated[str, typer.Option(help="urgent, normal or batch.")]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds to wait; the request goes on after that.", min=0.1, callback=finite)
]


def ask(
    text: Annotated[str, typer.Argument(help="The message.")],
    user: User,
    conversation: Conversation,
    *,
    agent: Agent = "chat",
    priority: Priority = "normal",
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Hand a message over and print the answer as it comes.

    A terminal sees the text while it is made; elsewhere it is printed when it is
    whole. The request's id goes to standard error. Exits 1 when the request
    fails, or has no outcome within the time-out.

    Example: pipeline ask "What did I cite?" --user ada --conversation thesis
    """
    with Client() as client:
        handle = client.submit(text, user_id=user, conversation_id=conversation, agent=agent, priority=priority)
        typer.echo(f"request {handle.id}", err=True)
        if as_json:
            emit_json({"id": handle.id, **asdict(handle.result(timeout))})
        elif sys.stdout.isatty():
            _follow(handle, timeout)
        else:
            typer.echo(handle.result(timeout).text)


def _follow(handle: Handle, timeout: float | None) -> None:
    for piece in handle.stream(timeout):
        if piece.restarted:
            typer.secho("\n[a new attempt begins the answer again]", fg="yellow")
        typer.echo(printable(piece), nl=False)
    typer.echo()
