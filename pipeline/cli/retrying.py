"""`pipeline requests retry`: ask once more what ended without an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from pipeline.cli.exits import FAILED
from pipeline.cli.filters import Provider, Reason, Since, Until, User, finite
from pipeline.cli.ledger import ledger
from pipeline.cli.output import AsJson, emit_json
from pipeline.errors import InvalidRequest
from pipeline.schemas import Status
from pipeline.store import queries

#: Batches a second, where one is not enough for the rate.
BATCHES = 5


class Ended(StrEnum):
    """What may be retried without being named; what was cancelled, somebody wanted so."""

    failed = "failed"
    expired = "expired"


def retry(
    request_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The requests' ids.")] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="All that the options below let pass.")] = False,
    status: Annotated[
        list[Ended] | None, typer.Option(help="What ended so; failed when not given. May be repeated.")
    ] = None,
    reason: Reason = None,
    user: User = None,
    provider: Provider = None,
    since: Since = None,
    until: Until = None,
    rate: Annotated[float, typer.Option(help="At most so many a second.", min=0.01, callback=finite)] = 10,
    as_json: AsJson = False,
) -> None:
    """Ask again: each as a new request at its conversation's tail, with the same text and options.

    One that is named may have failed, expired or been cancelled. With --all come
    those that failed and were never retried. Exits 1 when some were refused.

    Example: pipeline requests retry --all --reason http_503 --since 2h --rate 5
    """
    filters = (status, reason, user, provider, since, until)
    if bool(request_ids) == all_ or (request_ids and any(filters)):
        raise InvalidRequest("ID", "give the ids of requests, or --all with options that say which")
    ids = request_ids or []
    if all_:
        statuses = [Status(one) for one in status or (Ended.failed,)]
        with ledger() as database:
            ids = queries.dead_letters(database, queries.Wanted(statuses, user, reason, provider, since, until))
    _report(_replayed(ids, rate), as_json=as_json)


def _replayed(ids: Sequence[str], rate: float) -> Iterator[dict[str, str | None]]:
    """What became of each, as it comes, no faster than `rate` a second."""
    from pipeline.client import Client, Handle

    size = max(1, int(rate / BATCHES))
    due = time.monotonic()
    with Client() as client:
        for start in range(0, len(ids), size):
            time.sleep(max(0.0, due - time.monotonic()))
            due = time.monotonic() + size / rate  # from now: what a stall has held up does not follow all at once
            batch = ids[start : start + size]
            for id_, result in zip(batch, client.retry_many(batch), strict=True):
                new = result.id if isinstance(result, Handle) else None
                yield {"request": id_, "replay": new, "refused": None if new else str(result)}


def _report(replayed: Iterator[dict[str, str | None]], *, as_json: bool) -> None:
    told = []
    for one in replayed:
        told.append(one)
        if not as_json:
            typer.echo(one["refused"] or f"request {one['request']} is asked again as {one['replay']}")
    refused = sum(one["refused"] is not None for one in told)
    if as_json:
        emit_json(told)
    else:
        typer.echo(f"{len(told) - refused} asked again, {refused} refused")
    if refused:
        raise typer.Exit(FAILED)
