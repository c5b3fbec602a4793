"""`pipeline providers`: which of them are called, and which are not, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import redis
import typer

from pipeline import broker
from pipeline.cli.commands import group
from pipeline.cli.ledger import ledger
from pipeline.cli.output import AsJson, console, emit_json, moment, table
from pipeline.errors import BrokerUnavailable, ConfigurationError, InvalidRequest
from pipeline.providers import breaker
from pipeline.providers.breaker import BreakerFacts
from pipeline.providers.contract import NONE_CONFIGURED
from pipeline.providers.turns import BREATH
from pipeline.retry import RetryPolicy
from pipeline.settings import Settings, current
from pipeline.store.ledger import deferred

providers = group("The providers and their breakers.", example="pipeline providers list")

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Whose breaker.")]
All = Annotated[bool, typer.Option("--all", help="Every provider's.")]


@providers.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the providers: their breakers' state, since when and why, and the next trial.

    Example: pipeline providers list
    """
    settings = current()
    with _broker(settings) as client:
        found = breaker.states(client, settings)
    if as_json:
        emit_json(found)
        return
    columns = ("PROVIDER", "MODEL", "STATE", "SINCE (UTC)", "WHY", "CALLS AGAIN (UTC)")
    rows = [(one.provider, one.model, one.state, moment(one.since), _why(one), moment(_again(one))) for one in found]
    console().print(table(columns, rows, whole=("STATE", "CALLS AGAIN (UTC)")))


@providers.command("reset")
def reset(name: Name = None, *, every: All = False) -> None:
    """Close a breaker by hand, and forget what its provider asked us to wait.

    Requests that wait for a provider are then asked again at once, one after the
    other.

    Example: pipeline providers reset anthropic
    """
    settings = current()
    configured = settings.configured_providers
    chosen = configured if every else [one for one in configured if one.name == name]
    if not chosen or every == (name is not None):
        known = ", ".join(one.name for one in configured) or "none"
        raise InvalidRequest("name", f"there is no provider {name!r}: give one of {known}, or --all")
    with _broker(settings) as client:
        breaker.reset(client, settings, chosen)
    for one in chosen:
        typer.echo(f"{one.name}: closed")
    longest = RetryPolicy.from_settings(settings).longest
    with ledger() as database:
        waiting = database.patiently(lambda: deferred.bring_forward(database, apart=BREATH, longest=longest))
    if waiting:
        typer.echo(f"{waiting} waiting requests are asked again")


def _why(facts: BreakerFacts) -> str | None:
    """Why it is not called, or was not before."""
    return "Retry-After" if facts.closed_until and facts.next_trial is None else facts.why


def _again(facts: BreakerFacts) -> datetime | None:
    return max((one for one in (facts.next_trial, facts.closed_until) if one is not None), default=None)


@contextmanager
def _broker(settings: Settings) -> Iterator[redis.Redis]:
    """Raises ConfigurationError without a provider, BrokerUnavailable where the broker does not answer."""
    if not settings.configured_providers:
        raise ConfigurationError(NONE_CONFIGURED)
    client = broker.connect(settings.broker, settings.broker_timeout)
    try:
        yield client
    except broker.FAULTS as fault:
        raise BrokerUnavailable("The broker does not answer: is CITE_AGENT_BROKER_URL right?") from fault
    finally:
        client.close()
