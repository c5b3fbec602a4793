"""What the ledger says afterwards: the history, the attempts, the invariants; and where everything is."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pipeline import stackfile
from pipeline.cli.demo.screen import Screen
from pipeline.cli.demo.story import AGENT, CONVERSATION, USER
from pipeline.cli.demo.watch import short
from pipeline.cli.output import between, seconds
from pipeline.local.stack import FLOWER_USER, LocalStack
from pipeline.store import history, invariants, queries
from pipeline.store.database import Database

#: Who says it, on a narrow screen.
SPEAKERS = {"user": USER, "assistant": AGENT}


def print_report(screen: Screen, database: Database, requests: Sequence[UUID]) -> bool:
    """What the database holds now. Returns whether every invariant holds."""
    _print_history(screen, database)
    _print_attempts(screen, database, requests)
    held = _print_invariants(screen, database)
    screen.chapter(f"{'All of it held' if held else 'AN INVARIANT IS BROKEN'}, after {screen.elapsed:.0f} s.")
    return held


def print_addresses(screen: Screen, stack: LocalStack) -> None:
    """How to reach the stack from another terminal."""
    screen.chapter("The stack stays up until Ctrl-C. In another terminal:")
    screen.command(f"export CITE_AGENT_STACK_FILE={stackfile.path()}")
    screen.command(f'pipeline ask "And chapter two?" --user {USER} --conversation {CONVERSATION}')
    screen.command("pipeline requests list")
    screen.chapter("Addresses:")
    screen.command(f"Postgres   {stack.database_url}")
    screen.command(f"Valkey     {stack.broker_url}")
    screen.command(f"simulator  {stack.simulator_url}")
    screen.command(f"Flower     {stack.flower_url} (user {FLOWER_USER}, password {stack.flower_password})")
    screen.command(f"logs       {stack.data / 'logs'}")


def _print_history(screen: Screen, database: Database) -> None:
    screen.chapter("The history, as Postgres has it: every message once.")
    for message in history.read(database, USER, CONVERSATION):
        screen.say(f"{message.number} {SPEAKERS.get(message.role, message.role)}", message.content)


def _print_attempts(screen: Screen, database: Database, requests: Sequence[UUID]) -> None:
    screen.chapter("The attempts:")
    rows = [
        (
            position,
            attempt.number,
            short(attempt.worker),
            seconds(between(attempt.started_at, attempt.finished_at)),
            attempt.outcome,
            attempt.reason,
            seconds(attempt.delay),
        )
        for position, id_ in enumerate(requests, start=1)
        for attempt in queries.attempts(database, id_)
    ]
    screen.table(("REQUEST", "ATTEMPT", "WORKER", "TOOK", "OUTCOME", "REASON", "NEXT AFTER"), rows)


def _print_invariants(screen: Screen, database: Database) -> bool:
    screen.chapter("The invariants, checked by SQL:")
    broken = {violation.name: violation for violation in invariants.check(database)}
    for rule in invariants.RULES:
        if violation := broken.get(rule.name):
            screen.mark("BROKEN", str(violation), style="bold red")
        else:
            screen.mark("holds", rule.what, style="green")
    return not broken
