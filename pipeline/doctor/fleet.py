"""The fleet: workers that live and agree with each other, and one beat."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

import redis

from pipeline import beat
from pipeline.doctor.finding import Finding, fine, warning, wrong
from pipeline.doctor.site import Site
from pipeline.fingerprint import fingerprint
from pipeline.store.ledger import workers

#: Intervals without a word after which a beat counts as stopped.
PATIENCE = 4

#: Messages in a queue of upkeep from which it counts as not served: as many as beat lets wait.
TOO_MANY = beat.ENOUGH["maintenance"]


def workers_live(site: Site) -> Iterator[Finding]:
    """Whether anybody answers requests."""
    living = workers.living(site.database)
    if living:
        yield fine(f"{len(living)} alive: {', '.join(one.name for one in living)}")
    else:
        yield wrong("none is alive: what is accepted waits", "start some: `celery -A pipeline worker`")


def workers_share_their_settings(site: Site) -> Iterator[Finding]:
    """Whether they run by the same settings, and this command with them."""
    living = {one.name: one.settings for one in workers.living(site.database) if one.settings}
    differing = [name for name in _names(living) if len(_values(living, name)) > 1]
    for name in differing:
        by_digest = defaultdict(list)
        for worker, told in living.items():
            if name in told:
                by_digest[told[name]].append(worker)
        sides = " and ".join(", ".join(sorted(group)) for group in sorted(by_digest.values()))
        yield wrong(
            f"CITE_AGENT_{name.upper()} differs between {sides}",
            "give all workers the same environment, and restart those that have the old one",
        )
    mine = fingerprint(site.settings)
    for name in _names(living):
        if name not in differing and name in mine and _values(living, name) != {mine[name]}:
            yield warning(
                f"CITE_AGENT_{name.upper()} is another here than for the workers",
                "run this command, and agent code, with the workers' environment",
            )
    if not differing:
        yield fine(f"{len(living)} worker(s) agree")


def one_beat(site: Site) -> Iterator[Finding]:
    """Whether the clock runs, once."""
    living = living_beats(site.broker, every=site.settings.recovery_interval)
    if not living:
        yield wrong(
            "none has sent anything lately: what is due at intervals is not started",
            "start one: `celery -A pipeline beat`",
        )
    elif len(living) > 1:
        what = f"{len(living)} run ({', '.join(living)}): everything that is due is started that many times"
        yield wrong(what, "stop all but one")
    else:
        yield fine(f"one runs: {living[0]}")


def upkeep_is_served(site: Site) -> Iterator[Finding]:
    """Whether somebody takes what beat sends. Sessions wait for archiving in numbers, too, where there are many."""
    remedy = "have a worker serve it: `celery -A pipeline worker -Q archive,maintenance -c 4`"
    waiting = {queue: int(site.broker.llen(queue)) for queue in ("maintenance", "archive")}
    if waiting["maintenance"] >= TOO_MANY:
        yield wrong(f"{waiting['maintenance']} messages wait in `maintenance`: nobody serves it, or not enough", remedy)
    if waiting["archive"] >= TOO_MANY:
        yield warning(
            f"{waiting['archive']} messages wait in `archive`: nobody serves it, or there is much to do", remedy
        )
    if max(waiting.values()) < TOO_MANY:
        yield fine(f"{waiting['maintenance']} and {waiting['archive']} message(s) wait in `maintenance` and `archive`")


def living_beats(client: redis.Redis, *, every: float) -> list[str]:
    """The beats that have sent something lately, where there is something to send `every` so many seconds.

    Raises redis.RedisError.
    """
    since = time.time() - PATIENCE * every
    return sorted(name for name, seen in beat.last_seen(client).items() if seen > since)


def _names(told: dict[str, dict[str, str]]) -> list[str]:
    return sorted({name for settings in told.values() for name in settings})


def _values(told: dict[str, dict[str, str]], name: str) -> set[str]:
    """The digests of one setting, of those workers whose version has it."""
    return {settings[name] for settings in told.values() if name in settings}
