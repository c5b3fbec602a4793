"""The demo's act on a provider that dies: a breaker opens, another provider takes over, and trials close it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from pipeline import broker
from pipeline.cli.demo.provider import Provider
from pipeline.cli.demo.screen import Screen
from pipeline.client import Client, Handle
from pipeline.errors import PipelineError
from pipeline.providers import breaker
from pipeline.providers.breaker import BreakerFacts
from pipeline.settings import Settings, current
from pipeline.store import queries
from pipeline.store.database import Database

#: Seconds that a breaker of the demo stays open, and takes to let all calls through again: long enough to be seen.
OPEN_SECONDS, RAMP_SECONDS = 4, 1

#: Users who ask at the same time; each costs the dead provider a call at most.
USERS = 14

#: Faults of a provider that is down for good.
DOWN = ("503",) * 200

#: Words per second: these answers are not read.
PACE = 400.0

PATIENCE = 60.0


def lose_a_provider(screen: Screen, client: Client, database: Database, first: Provider, standby: Provider) -> None:
    """Raises PipelineError where it does not go as it must."""
    screen.chapter("4. A provider is down. Its breaker opens for all workers; a second provider stands in.")
    standby.play(words_per_second=PACE)
    first.play(*DOWN, words_per_second=PACE)
    _ask(client, USERS)
    facts = _when(lambda one: one.state == "open", "the breaker did not open")
    screen.alarm(f"The breaker of {facts.provider!r} is open, for {facts.why}; all {USERS} users have their answer")
    _explain(screen, database, _ask(client, 1), "One more asks")
    first.play(words_per_second=PACE)
    with screen.waiting(f"The provider is back. After {OPEN_SECONDS} s the breaker lets three trial calls through …"):
        _when(lambda one: one.state == "closed", "the breaker did not close", meanwhile=lambda: _ask(client, 3))
    screen.note("Three of three went well: the breaker is closed", style="green")


def _ask(client: Client, users: int) -> Sequence[Handle]:
    """So many users ask at once, and have their answers."""
    names = [f"user {number}" for number in range(users)]
    asked = client.submit_many([{"text": "Are you there?", "user_id": name, "conversation_id": "c"} for name in names])
    handles = [one for one in asked if isinstance(one, Handle)]
    for handle in handles:
        handle.result(PATIENCE)
    return handles


def _explain(screen: Screen, database: Database, handles: Sequence[Handle], what: str) -> None:
    for handle in handles:
        for call in queries.calls(database, UUID(handle.id)):
            screen.note(f"{what}: answered by {call.provider!r}, chosen {call.choice}")


def _when(
    condition: Callable[[BreakerFacts], bool], otherwise: str, *, meanwhile: Callable[[], object] | None = None
) -> BreakerFacts:
    """The first provider's breaker as soon as the condition holds."""
    settings = current()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if meanwhile is not None:
            meanwhile()
        facts = _first(settings)
        if condition(facts):
            return facts
        time.sleep(0.2)
    raise PipelineError(f"{otherwise}; please run the demo again")


def _first(settings: Settings) -> BreakerFacts:
    with broker.connect(settings.broker, settings.broker_timeout) as client:
        return breaker.states(client, settings)[0]
