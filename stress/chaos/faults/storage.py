"""Cold storage fails and is slow while sessions are archived; a server's disk is full."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import psycopg
import redis

from stress.chaos.fault import FULL, HALF, CannotStrike, Strike, Touched, fault
from stress.chaos.scene import Scene
from stress.chaos.volume import Volume

#: The folders of the stack that are file systems of their own, with their sizes in megabytes.
SIZES = {"archives": 256, "valkey": 128, "postgres": 1024}

#: Seconds for the first session to be archived. At the default rate and users, one has enough messages after 100.
ARCHIVING = 180.0

#: Seconds for which cold storage fails, or stands still: some sweeps, and some turns that leave too much.
COLD = 12.0

#: Seconds for which a disk is full.
DISK_FULL = 8.0

#: Seconds between two looks at whether somebody has met with it.
APART = 0.5

#: What a full disk refuses.
PROBE = "CREATE TEMPORARY TABLE probe AS SELECT repeat('x', 1000) AS filling FROM generate_series(1, 10000)"


@fault("storage_failing", HALF)
def storage_failing(scene: Scene) -> Strike:
    """Refuse all writes to cold storage for 12 s of archiving. Touched: all that is unfinished."""
    volume, ledger = _in_use(scene), scene.ledger
    return _for_a_while(
        scene,
        ledger.unfinished,
        COLD,
        volume.protect,
        volume.unprotect,
        felt=lambda since: ledger.refused_since(since) > 0,
    )


@fault("storage_slow", HALF)
def storage_slow(scene: Scene) -> Strike:
    """Have every write to cold storage wait, for 12 s of archiving. Touched: all that is unfinished."""
    volume, ledger = _in_use(scene), scene.ledger
    return _for_a_while(
        scene, ledger.unfinished, COLD, volume.freeze, volume.thaw, felt=lambda since: ledger.held_up_since(since) > 0
    )


@fault("broker_disk_full", FULL)
def broker_disk_full(scene: Scene) -> Strike:
    """Leave the broker no room on its disk for 8 s. Touched: what lay in it."""
    volume = scene.volume("valkey")
    return _for_a_while(
        scene, scene.ledger.at_broker, DISK_FULL, volume.fill, volume.empty, felt=lambda _: _broker_refuses(scene)
    )


@fault("postgres_disk_full", HALF)
def postgres_disk_full(scene: Scene) -> Strike:
    """Leave Postgres no room on its disk for 8 s. Touched: all that is unfinished."""
    volume = scene.volume("postgres")
    return _for_a_while(
        scene,
        scene.ledger.unfinished,
        DISK_FULL,
        volume.fill,
        volume.empty,
        felt=lambda _: _postgres_refuses(scene.postgres.url),
    )


def _for_a_while(
    scene: Scene,
    look: Callable[[], Touched],
    seconds: float,
    hurt: Callable[[], None],
    heal: Callable[[], None],
    *,
    felt: Callable[[datetime], bool],
) -> Strike:
    """Hurt for so many seconds. `felt` says whether somebody has met with it since that moment of the ledger's clock;
    raises CannotStrike where nobody did."""
    touched, met = scene.enough(look), False
    since, began = scene.ledger.now(), time.monotonic()
    try:
        hurt()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            met = met or felt(since)
            scene.hold(min(left, APART))
    finally:
        heal()
    if not met:
        raise CannotStrike(f"no write met with it within {seconds:g} s")
    return Strike.since(began, touched)


def _broker_refuses(scene: Scene) -> bool:
    """Whether it could not write its log, after which it takes no more; or is gone, which nothing else was to bring
    about."""
    try:
        with scene.redis() as client:
            return bool(client.info("persistence")["aof_last_write_status"] != "ok")
    except redis.RedisError:
        return True


def _postgres_refuses(url: str) -> bool:
    """Whether there is no room for a table of some megabytes, which would be gone with the connection; or no Postgres,
    which ends where its log has no room."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
            connection.execute(PROBE)
    except psycopg.OperationalError:  # of which a full disk is one
        return True
    return False


def _in_use(scene: Scene) -> Volume:
    """Cold storage, as soon as sessions are archived in it."""
    if getattr(scene.stack, "cold_storage_url", None) is None:
        raise CannotStrike("this build archives nothing")
    volume = scene.volume("archives")
    if not scene.comes_true(lambda: any(volume.folder.iterdir()), ARCHIVING):
        raise CannotStrike(f"nothing was archived within {ARCHIVING:g} s")
    return volume
