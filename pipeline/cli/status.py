"""`pipeline status`: how it stands, on one screen."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import redis
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from pipeline import broker, settings
from pipeline.cli.filters import finite
from pipeline.cli.ledger import ledger
from pipeline.cli.output import AsJson, console, emit_json, printable, table
from pipeline.doctor.fleet import living_beats
from pipeline.errors import LedgerUnavailable
from pipeline.providers import breaker
from pipeline.schemas import Priority
from pipeline.store.archives import Lag, Rules, lag
from pipeline.store.overview import LongFacts, Overview, overview

#: Rows of each table, so that all of them fit 24 lines.
WORKERS, PROVIDERS, LONGEST = 4, 3, 3

#: Queues of the broker that requests do not travel in.
UPKEEP = ("archive", "maintenance")

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")]
Every = Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2, callback=finite)]


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """The lengths of its queues, the beats that live, the memory it uses, and each provider's breaker."""

    queues: dict[str, int]
    beats: list[str]
    bytes_used: int
    breakers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown; `broker` is None where it does not answer."""

    ledger: Overview
    broker: BrokerFacts | None
    archive: Lag


def status(*, watch: Watch = False, every: Every = 2.0, as_json: AsJson = False) -> None:
    """Show workers, queues, providers, and the requests that have waited or run longest.

    Providers and outcomes are those of the newest 1,000 calls and requests of the last five minutes.

    Example: pipeline status --watch
    """
    if watch and as_json:
        raise typer.BadParameter("--watch is for people, --json for machines: leave one out")
    given = settings.current()
    client = broker.connect(given.broker, given.broker_timeout, connections=2)
    with ledger() as database, contextlib.closing(client):

        def look() -> Report:
            behind = lag(database, Rules.from_settings(given))
            return Report(overview(database, most=LONGEST), _broker(client, given), behind)

        if watch:
            _watch(look, every)
        elif as_json:
            emit_json(look())
        else:
            console().print(_screen(look()))


def _watch(look: Callable[[], Report], every: float) -> None:
    out = console()
    # also where whoever started this ignores it, as a shell does for what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Live(console=out, screen=out.is_terminal, auto_refresh=False) as live:
        while True:
            try:
                shown = _screen(look())
            except LedgerUnavailable:
                shown = Text("Postgres does not answer", style="bold red")
            live.update(shown, refresh=True)
            time.sleep(every)


def _broker(client: redis.Redis, given: settings.Settings) -> BrokerFacts | None:
    names = (*(one.name for one in Priority), *UPKEEP)
    try:
        lengths: list[Any] = [client.llen(name) for name in names]
        used = client.info("memory")["used_memory"]
        beats = living_beats(client, every=given.recovery_interval)
        breakers = {one.provider: one.state for one in breaker.states(client, given)}
        return BrokerFacts(dict(zip(names, lengths, strict=True)), beats, int(used), breakers)
    except broker.FAULTS:
        return None


def _screen(report: Report) -> RenderableType:
    parts = (_headline, _workers, _queues, _providers, _longest)
    return Group(*(part(report) for part in parts))


def _headline(report: Report) -> RenderableType:
    counts = report.ledger.outcomes
    ended = ", ".join(f"{counts[name]} {name}" for name in sorted(counts)) or "no requests"
    lines = Text(f"Last five minutes: {ended}", overflow="ellipsis", no_wrap=True)
    facts = report.broker
    if facts is None:
        return lines.append("\nThe broker does not answer", style="bold red")
    upkeep = ", ".join(f"{facts.queues[name]} for {name}" for name in UPKEEP)
    if report.archive.sessions:
        upkeep += f" ({report.archive.sessions} sessions due, for {_age(report.archive.seconds)})"
    lines.append(f"\nBroker: {facts.bytes_used / 1_048_576:.1f} MiB, {upkeep}; beat: ")
    beats = ", ".join(map(printable, facts.beats)) or "none alive"
    return lines.append(beats, style="" if len(facts.beats) == 1 else "bold red")


def _workers(report: Report) -> RenderableType:
    found = report.ledger.workers
    rows = [
        (one.name, one.pid, one.running, _age(one.up), f"{one.quiet:.0f} s" if one.alive else "DEAD")
        for one in _some(found, WORKERS)
    ]
    more = [("none alive", "", "", "", "")] if not rows else _and_more(len(found) - len(rows), 5)
    return table(("WORKER", "PROCESS", "RUNNING", "UP", "HEARTBEAT"), [*rows, *more])


def _queues(report: Report) -> RenderableType:
    sent = report.broker.queues if report.broker else {}
    rows = [
        (one.queue, one.running, one.waiting, one.delayed, one.behind, sent.get(one.queue), _age(one.oldest))
        for one in report.ledger.queues
    ]
    return table(("QUEUE", "RUNNING", "WAITING", "DELAYED", "BEHIND", "IN BROKER", "OLDEST"), rows)


def _providers(report: Report) -> RenderableType:
    found = report.ledger.providers
    breakers = report.broker.breakers if report.broker else {}
    rows: list[tuple[object, ...]] = [
        (one.provider, breakers.get(one.provider), one.calls, one.failed, one.last_reason, _age(one.median),
         _age(one.p95), one.tokens)
        for one in _some(found, PROVIDERS)
    ]  # fmt: skip
    uncalled = [(name, state, *(None,) * 6) for name, state in breakers.items() if name not in {row[0] for row in rows}]
    rows += uncalled[: PROVIDERS - len(rows)]
    more = _and_more(len(found) - len(rows), 8)
    return table(("PROVIDER", "BREAKER", "CALLS", "FAILED", "LAST REASON", "MEDIAN", "P95", "TOKENS"), [*rows, *more])


def _longest(report: Report) -> RenderableType:
    rows = [_long(one) for one in (*report.ledger.slowest, *report.ledger.oldest)]
    return table(("LONGEST", "STATUS", "FOR", "TRIES", "WORKER OR USER"), rows, whole=("LONGEST",))


def _long(one: LongFacts) -> tuple[object, ...]:
    length = one.age if one.running_for is None else one.running_for
    return one.id, one.status, _age(length), one.attempts, one.worker or one.user_id


def _some(found: Sequence[Any], most: int) -> Sequence[Any]:
    """All, or all but what one line says of the rest."""
    return found if len(found) <= most else found[: most - 1]


def _and_more(count: int, columns: int) -> list[tuple[object, ...]]:
    return [(f"and {count} more", *("" for _ in range(columns - 1)))] if count else []


def _age(length: float | None) -> str:
    if length is None:
        return "-"
    if length < 100:
        return f"{length:.1f} s"
    return f"{length / 60:.0f} min" if length < 7200 else f"{length / 3600:.1f} h"
