"""The broker: whether it answers, outlives a restart, and drops nothing of its own accord."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from pipeline.doctor.finding import Finding, fine, warning, wrong
from pipeline.doctor.site import Site

#: The oldest versions that have the commands in use.
OLDEST = {"redis": 7, "valkey": 8}

#: The share of its memory limit from which a broker counts as nearly full.
NEARLY_FULL = 0.8


def answers(site: Site) -> Iterator[Finding]:
    """Whether it can be reached, and is new enough."""
    try:
        told = _info(site, "server")
    except redis.AuthenticationError:
        yield wrong("refuses the login", "set user and password in CITE_AGENT_BROKER_URL")
        return
    except (redis.RedisError, OSError) as away:
        what = f"does not answer ({type(away).__name__})"
        yield wrong(what, "start it, or set CITE_AGENT_BROKER_URL to where it is")
        return
    kind = "valkey" if "valkey_version" in told else "redis"
    version = str(told[f"{kind}_version"])
    if int(version.partition(".")[0]) < OLDEST[kind]:
        yield wrong(f"{kind} {version} is too old", "use Redis 7, Valkey 8, or newer")
    else:
        yield fine(f"{kind} {version} answers")


def keeps_its_messages(site: Site) -> Iterator[Finding]:
    """Whether what is queued outlives a restart. The ledger knows it all, so that nothing is lost either way."""
    told = _info(site, "persistence")
    if told.get("aof_last_write_status") == "err":
        yield wrong("cannot write its append-only file, and takes nothing", "see to its disk")
    elif not told.get("aof_enabled"):
        yield warning(
            "keeps no append-only file: after a restart its queues are empty, and everything that waited is published "
            f"again, {site.settings.redelivery_grace:g} s late; streams begin anew",
            "set appendonly yes, appendfsync everysec",
        )
    else:
        yield fine("keeps an append-only file")


def drops_nothing(site: Site) -> Iterator[Finding]:
    """Whether it makes room by throwing messages away, and how soon it must refuse them."""
    told = _info(site, "memory")
    policy, limit, used = told.get("maxmemory_policy"), int(told.get("maxmemory", 0)), int(told.get("used_memory", 0))
    if policy != "noeviction":
        yield wrong(
            f"maxmemory-policy is {policy}: when memory is short it throws queues and streams away",
            "set maxmemory-policy noeviction; the broker is no cache",
        )
    if limit and used > NEARLY_FULL * limit:
        share = round(100 * used / limit)
        yield warning(f"uses {share} % of its {limit // 1_048_576} MiB", "raise maxmemory, or shorten STREAM_SECONDS")
    if policy == "noeviction" and not (limit and used > NEARLY_FULL * limit):
        yield fine("throws nothing away")


def _info(site: Site, section: str) -> dict[str, Any]:
    told: dict[str, Any] = site.broker.info(section)
    return told
