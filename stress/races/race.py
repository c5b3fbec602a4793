"""A race: threads with their verbs for a while, then everything comes to its end, and is looked at."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.archive.archiver import Report
from pipeline.store.ledger.outcomes import missing
from stress.races.verbs import Racer
from stress.races.world import World

#: Seconds for all that is under way to end, once nothing new comes.
PATIENCE = 60.0

UNFINISHED = "SELECT count(*) FROM requests WHERE finished_at IS NULL"
INTERRUPTED = "SELECT id FROM requests WHERE interrupted_at IS NOT NULL"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@dataclass
class Verdict:
    """What came of it."""

    verbs: Counter[str] = field(default_factory=Counter)
    #: Whatever a verb raised that it must not, as text, and how often.
    raised: Counter[str] = field(default_factory=Counter)
    #: What recovery had to do, by why.
    helped: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    #: Messages.
    archived: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not (self.broken or self.raised)


def race(world: World, *, threads: int, seconds: float, seed: int) -> Verdict:
    """Let them run, drain, and look."""
    verdict, until = Verdict(), time.monotonic() + seconds
    racers = [Racer(world, random.Random(f"{seed} {number}"), world.worker()) for number in range(threads)]
    running = [threading.Thread(target=_run, args=(one, until, verdict), daemon=True) for one in racers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    left = _drain(racers[0], verdict)
    verdict.accepted = len(world.accepted)
    verdict.broken += [*_left(left), *_lost(world), *_told_twice(world), *_uninterrupted(world)]
    verdict.broken += [*_spent(verdict), *_deadlocks(world)]
    return verdict


def _run(racer: Racer, until: float, verdict: Verdict) -> None:
    verbs = racer.verbs()
    names, weights = list(verbs), [weight for weight, _ in verbs.values()]
    while time.monotonic() < until:
        (name,) = racer.dice.choices(names, weights)
        _do(name, verbs[name][1], verdict)


def _do(name: str, verb: Callable[[], object], verdict: Verdict) -> None:
    try:
        result = verb()
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is on record, and ends the race badly
        verdict.raised[f"{name}: {_said(fault)}"] += 1
        return
    verdict.verbs[name] += 1
    if isinstance(result, Counter):
        verdict.helped.update(result)
    elif isinstance(result, Report):
        verdict.archived += result.messages


def _said(fault: BaseException) -> str:
    """In a line, what it is and what it came of."""
    cause = f", from {_said(fault.__cause__)}" if fault.__cause__ is not None else ""
    return f"{type(fault).__name__}: {str(fault).partition(chr(10))[0]}{cause}"


def _drain(racer: Racer, verdict: Verdict) -> int:
    """Claim and end until nothing is left. Returns how many requests have no outcome even so."""
    until = time.monotonic() + PATIENCE
    while (left := _count(racer.world, UNFINISHED)) and time.monotonic() < until:
        _do("recover", racer.world.recovery.run, verdict)
        _do("claim", racer.claim, verdict)
        _do("end", racer.end, verdict)
    _do("resume erasures", racer.world.eraser.resume, verdict)
    _do("look", racer.look, verdict)
    return left


def _count(world: World, query: str) -> int:
    with world.database.connection() as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _left(left: int) -> Iterator[str]:
    if left:
        yield f"{left} request(s) without an outcome, {PATIENCE:.0f} s after the last verb"


def _lost(world: World) -> Iterator[str]:
    """What is not there, although nobody erased it and it has not ended."""
    for id_ in missing(world.database, world.accepted):
        if id_ not in world.courier.told and not world.may_be_erased(world.accepted[id_]):
            yield f"request {id_} was accepted, and is gone without an outcome"


def _told_twice(world: World) -> Iterator[str]:
    for id_, times in world.courier.told.items():
        if times > 1:
            yield f"the outcome of request {id_} was told {times} times: it ended more than once"


def _uninterrupted(world: World) -> Iterator[str]:
    """What is to stop, and no worker was told."""
    with world.database.connection() as connection:
        for (id_,) in connection.execute(INTERRUPTED):
            if id_ not in world.courier.interrupted:
                yield f"request {id_} was to be interrupted, and no worker was told"


def _spent(verdict: Verdict) -> Iterator[str]:
    """No message is lost here: what had to be published again was passed over by whoever had it."""
    if spent := verdict.helped["message_lost"]:
        yield f"{spent} request(s) waited for recovery, after their message was spent for nothing"


def _deadlocks(world: World) -> Iterator[str]:
    if deadlocks := _count(world, DEADLOCKS):
        yield f"{deadlocks} deadlock(s)"
