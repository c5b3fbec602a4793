"""The broker's traces: streams of what was said, and the files in which the broker keeps what it was once told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis
import structlog

from pipeline import broker, signals
from pipeline.errors import BrokerUnavailable
from pipeline.stream.wire import stream_name

log = structlog.get_logger(__name__)

#: Streams that are removed in one round trip.
BATCH = 500

#: Keys that bear a user's id. They go by themselves within minutes, but an erasure need not wait. Whoever keeps more in
#: the broker adds it here.
OF_USER = ("cite_agent:rate:{user}",)

#: How often the broker had begun to write each of its files anew when an erasure's streams were gone; and seconds for
#: which that is remembered.
REMOVED, REMEMBERED = "cite_agent:erasing:{id}", 86_400

#: Seconds for which the broker is waited for that writes its files anew, and between two looks whether it has.
PATIENCE, POLL = 10.0, 0.02


def remove_streams(client: redis.Redis, requests: Sequence[UUID]) -> None:
    """Remove the streams of these requests. Raises BrokerUnavailable."""
    try:
        for start in range(0, len(requests), BATCH):
            client.unlink(*(stream_name(str(id_)) for id_ in requests[start : start + BATCH]))
    except broker.FAULTS as fault:
        raise BrokerUnavailable from fault


def remove_user(client: redis.Redis, user_id: str) -> None:
    """Remove what the broker holds of a user beside requests. Raises BrokerUnavailable."""
    try:
        client.unlink(*(key.format(user=user_id) for key in OF_USER))
    except broker.FAULTS as fault:
        raise BrokerUnavailable from fault


@dataclass(frozen=True)
class Files:
    """One kind of the broker's files: how to have it written anew, and what the broker tells of that."""

    command: tuple[str, ...]
    #: How many times that was begun since the broker was started.
    begun: str
    under_way: str
    outcome: str


AOF = Files(("BGREWRITEAOF",), "aof_rewrites", "aof_rewrite_in_progress", "aof_last_bgrewrite_status")
RDB = Files(("BGSAVE", "SCHEDULE"), "rdb_saves", "rdb_bgsave_in_progress", "rdb_last_bgsave_status")


def rewrite_files(client: redis.Redis, erasure_id: UUID, streams: int) -> None:
    """Have the broker write its files anew, so that what was removed from its memory is not on its disk either. So
    many `streams` of the erasure were removed before.

    What takes longer than `PATIENCE` goes on: whoever comes again finds it begun, or done. A broker that does not
    allow it is left as it is, counted: its files lose the removed as it writes them anew by itself. Raises
    BrokerUnavailable where it is away, or takes longer.
    """
    key, until = REMOVED.format(id=erasure_id), time.monotonic() + PATIENCE
    try:
        since = _since_removal(client, key, streams)
        if _persistence(client)["aof_enabled"]:
            _rewritten(client, AOF, since[AOF], until)
        if client.config_get("save").get("save"):
            _rewritten(client, RDB, since[RDB], until)
        client.unlink(key)
    except redis.ResponseError as refusal:
        signals.erasing_failed("broker_files")
        log.warning("broker_files_not_rewritten", error=type(refusal).__name__)
    except broker.FAULTS as fault:
        raise BrokerUnavailable from fault


def _since_removal(client: redis.Redis, key: str, streams: int) -> dict[Files, int]:
    """How many times each kind had been begun when so many streams were gone: what is begun later is without them."""
    now = _persistence(client)
    run = f"{client.info('server')['run_id']} {streams}"
    client.set(key, f"{run} {now[AOF.begun]} {now[RDB.begun]}", ex=REMEMBERED, nx=True)
    told = client.get(key)
    noted = told.decode() if isinstance(told, bytes) else str(told)
    if not noted.startswith(f"{run} "):  # of another run of the broker, or before more were removed
        noted = f"{run} {now[AOF.begun]} {now[RDB.begun]}"
        client.set(key, noted, ex=REMEMBERED)
    *_, aof, rdb = noted.split()
    return {AOF: int(aof), RDB: int(rdb)}


def _rewritten(client: redis.Redis, files: Files, since: int, until: float) -> None:
    asked = False
    while True:
        now = _persistence(client)
        if now[files.begun] - since > now[files.under_way] and now[files.outcome] == "ok":
            return
        if not now[files.under_way]:
            if asked and now[files.begun] > since and now[files.outcome] != "ok":
                raise BrokerUnavailable  # its disk may be full: a fork at each look would not help
            asked = _ask(client, files.command) or asked
        if time.monotonic() > until:
            raise BrokerUnavailable
        time.sleep(POLL)


def _ask(client: redis.Redis, command: Sequence[str]) -> bool:
    """Whether the broker takes it. What is under way, by whomever, is waited for; the next is asked for after that."""
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py gives it no types
    except redis.ResponseError as refusal:
        if "in progress" not in str(refusal) and "already" not in str(refusal):
            raise
        return False
    return True


def _persistence(client: redis.Redis) -> dict[str, Any]:
    found: dict[str, Any] = client.info("persistence")
    if AOF.begun not in found or RDB.begun not in found:
        raise redis.ResponseError("it does not tell how often it has written its files anew")
    return found
