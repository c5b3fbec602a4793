"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psycopg
import redis

from pipeline.doctor import brokers, clocks, exposure, fleet, ledger, storage, timeouts, variables
from pipeline.doctor.finding import Finding, Level
from pipeline.doctor.site import Site
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from pipeline.store.database import UNAVAILABLE

Check = Callable[[Site], Iterable[Finding]]

#: By the name that the report has for them, in its order.
CHECKS: dict[str, Check] = {
    "postgres": ledger.answers,
    "postgres durability": ledger.keeps_what_it_commits,
    "migrations": ledger.has_this_versions_tables,
    "broker": brokers.answers,
    "broker persistence": brokers.keeps_its_messages,
    "broker eviction": brokers.drops_nothing,
    "clocks": clocks.agree,
    "workers": fleet.workers_live,
    "workers' settings": fleet.workers_share_their_settings,
    "beat": fleet.one_beat,
    "variables": variables.are_settings,
    "upkeep": fleet.upkeep_is_served,
    "time-outs": timeouts.fit_together,
    "cold storage": storage.can_be_written,
    "flower": exposure.flower_wants_a_login,
    "addresses": exposure.local_stack_is_private,
}


def examine(settings: Settings, *, flower: str | None = None) -> dict[str, list[Finding]]:
    """What each check finds. Raises ConfigurationError where the settings name no servers."""
    site = Site(settings, flower=flower)
    try:
        return {name: _findings(check, site) for name, check in CHECKS.items()}
    finally:
        site.close()


def _findings(check: Check, site: Site) -> list[Finding]:
    try:
        return list(check(site))
    except UNAVAILABLE as away:
        return [_not_seen("Postgres does not answer", away)]
    except ConfigurationError as another_version:
        return [Finding(Level.wrong, f"not looked at: {another_version}", "see to that first")]
    except psycopg.Error as refused:  # such as a table that this user may not read
        return [_not_seen("Postgres refuses to tell", refused)]
    except (redis.RedisError, OSError) as away:
        return [_not_seen("the broker does not answer", away)]


def _not_seen(why: str, fault: Exception) -> Finding:
    # by its kind alone: the words of a driver may hold a password
    return Finding(Level.wrong, f"not looked at: {why} ({type(fault).__name__})", "see to that first")
