"""`pipeline requests`: what was asked, where it stands, how it went."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from pipeline.cli.archiving import archived
from pipeline.cli.commands import group
from pipeline.cli.exits import FAILED
from pipeline.cli.filters import Limit, Provider, Reason, Since, Until, User
from pipeline.cli.ledger import ledger
from pipeline.cli.output import AsJson, between, console, emit_json, moment, printable, seconds, table
from pipeline.cli.retrying import retry
from pipeline.errors import RequestNotFound
from pipeline.schemas import Status
from pipeline.store import queries
from pipeline.store.queries import AttemptFacts, CallFacts, RequestFacts

requests = group("What was asked.", example="pipeline requests list --status failed")

RequestId = Annotated[str, typer.Argument(metavar="ID", help="The request's id.")]
Statuses = Annotated[
    list[Status] | None,
    typer.Option(metavar="STATUS", help=f"Only these: {', '.join(Status)}; may be repeated."),
]
WithText = Annotated[bool, typer.Option("--text", help="Also what was said, and tracebacks, which may quote it.")]


@requests.command("list")
def list_(
    *,
    status: Statuses = None,
    user: User = None,
    reason: Reason = None,
    provider: Provider = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List requests, newest first.

    Example: pipeline requests list --status failed --reason http_503 --since 2h
    """
    wanted = queries.Wanted(status or (), user, reason, provider, since, until)
    with ledger() as database:
        found = queries.requests(database, wanted, limit=limit)
    if as_json:
        emit_json(found)
        return
    columns = ("ID", "STATUS", "REASON", "USER", "CONVERSATION")  # more would leave no room for a reason to be read
    rows = [(one.id, one.status, one.reason, one.user_id, one.conversation_id) for one in found]
    console().print(table(columns, rows, whole=columns[:2]))


@requests.command("show")
def show(
    request_id: RequestId,
    *,
    text: WithText = False,
    as_json: AsJson = False,
) -> None:
    """Show one request: its facts, its attempts with delays and reasons, its calls of providers.

    Example: pipeline requests show 019ab1c2-0000-7000-8000-000000000000
    """
    id_ = _uuid(request_id)
    with ledger() as database:
        facts = queries.request(database, id_)
        attempts, calls = queries.attempts(database, id_), queries.calls(database, id_)
        said = (queries.said(database, id_) or archived(database, id_)) if text else []
    if as_json:
        tried = [_without_error(one, keep=text) for one in attempts]
        words = {"said": [{"role": role, "content": content} for role, content in said]} if text else {}
        emit_json({"request": facts, "attempts": tried, "calls": calls, **words})
        return
    out = console()
    _print_facts(out, facts)
    _print_attempts(out, attempts)
    _print_calls(out, calls)
    if text:
        _print_said(out, said, attempts)


@requests.command("cancel")
def cancel(request_id: RequestId, *, as_json: AsJson = False) -> None:
    """End a request without an answer. Exits 1 when it had ended before.

    Example: pipeline requests cancel 019ab1c2-0000-7000-8000-000000000000
    """
    from pipeline.client import Client

    with Client() as client:
        handle = client.get(request_id)
        cancelled = handle.cancel()
        status = handle.status()
    if as_json:
        emit_json({"id": handle.id, "cancelled": cancelled, "status": status})
    else:
        typer.echo(f"request {handle.id} is cancelled" if cancelled else f"request {handle.id} had ended: {status}")
    if not cancelled:
        raise typer.Exit(FAILED)


requests.command("retry")(retry)


def _uuid(request_id: str) -> UUID:
    try:
        return UUID(request_id)
    except ValueError:
        raise RequestNotFound(request_id) from None


def _without_error(attempt: AttemptFacts, *, keep: bool) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in AttemptFacts.__slots__ if keep or name != "error"}


def _print_facts(out: Console, one: RequestFacts) -> None:
    worker = "-" if one.worker is None else f"{one.worker} (process {one.worker_pid})"
    facts = {
        "request": one.id,
        "user": one.user_id,
        "conversation": f"{one.conversation_id} (request {one.position} of it)",
        "agent": one.agent,
        "priority": one.priority,
        "status": one.status if one.reason is None else f"{one.status} ({one.reason})",
        "attempts": f"{one.attempts} of at most {one.max_attempts}",
        "worker": worker,
        "accepted": f"{moment(one.accepted_at)} UTC",
        "deadline": f"{moment(one.deadline)} UTC",
        "waited": seconds(between(one.accepted_at, one.started_at)),
        "took": seconds(between(one.accepted_at, one.finished_at)),
    }
    for name, value in facts.items():
        out.print(f"{name + ':':<14}{printable(value)}", markup=False, soft_wrap=True)


def _print_attempts(out: Console, attempts: list[AttemptFacts]) -> None:
    rows = [
        (
            one.number,
            one.worker,
            seconds(between(one.started_at, one.finished_at)),
            one.outcome,
            one.reason or "-",
            seconds(one.delay),
        )
        for one in attempts
    ]
    out.print()
    out.print(table(("ATTEMPT", "WORKER", "TOOK", "OUTCOME", "REASON", "NEXT AFTER"), rows))


def _print_calls(out: Console, calls: list[CallFacts]) -> None:
    rows = [
        (
            one.attempt,
            one.provider,
            one.model,
            one.status_code or "-",
            one.reason or "-",
            seconds(between(one.started_at, one.first_token_at)),
            seconds(between(one.started_at, one.finished_at)),
            f"{one.input_tokens}+{one.output_tokens}",
        )
        for one in calls
    ]
    out.print()
    out.print(table(("ATTEMPT", "PROVIDER", "MODEL", "CODE", "REASON", "FIRST", "TOOK", "TOKENS"), rows))
    for number, one in enumerate(calls, start=1):
        out.print(f"call {number}: {printable(one.choice)}", markup=False, soft_wrap=True)


def _print_said(out: Console, said: list[tuple[str, str]], attempts: list[AttemptFacts]) -> None:
    out.print()
    for role, words in said:
        out.print(f"{role}: {printable(words)}", markup=False, soft_wrap=True)
    for attempt in attempts:
        if attempt.error:
            out.print(f"attempt {attempt.number}: {printable(attempt.error)}", markup=False, soft_wrap=True)
