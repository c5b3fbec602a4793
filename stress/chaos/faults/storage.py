"""Cold storage fails and is slow while sessions are archived; a server's disk is full."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.local import process
from stress.chaos.fault import FULL, HALF, CannotStrike, Strike, Touched, fault
from stress.chaos.scene import PATIENCE, Scene
from stress.chaos.volume import Volume

#: The folders of the stack that are file systems of their own, with their sizes in megabytes.
SIZES = {"archives": 256, "valkey": 128, "postgres": 1024}

#: Seconds for which cold storage fails, or stands still: some sweeps, and some turns that leave too much.
COLD = 12.0

#: Seconds for which a disk is full.
DISK_FULL = 8.0


@fault("storage_failing", HALF)
def storage_failing(scene: Scene) -> Strike:
    """Refuse all writes to cold storage for 12 s of archiving. Touched: all that is unfinished."""
    volume = _in_use(scene)
    return _for_a_while(scene, scene.ledger.unfinished, COLD, volume.protect, volume.unprotect)


@fault("storage_slow", HALF)
def storage_slow(scene: Scene) -> Strike:
    """Have every write to cold storage wait, for 12 s of archiving. Touched: all that is unfinished."""
    volume = _in_use(scene)
    return _for_a_while(scene, scene.ledger.unfinished, COLD, volume.freeze, volume.thaw)


@fault("broker_disk_full", FULL)
def broker_disk_full(scene: Scene) -> Strike:
    """Leave the broker no room on its disk for 8 s. Touched: what lay in it."""
    volume = scene.volume("valkey")
    return _for_a_while(scene, scene.ledger.at_broker, DISK_FULL, volume.fill, volume.empty)


@fault("postgres_disk_full", HALF)
def postgres_disk_full(scene: Scene) -> Strike:
    """Leave Postgres no room on its disk for 8 s. Touched: all that is unfinished."""
    volume = scene.volume("postgres")
    return _for_a_while(scene, scene.ledger.unfinished, DISK_FULL, volume.fill, volume.empty)


def _for_a_while(
    scene: Scene, look: Callable[[], Touched], seconds: float, hurt: Callable[[], None], heal: Callable[[], None]
) -> Strike:
    touched = scene.enough(look)
    began = time.monotonic()
    try:
        hurt()
        scene.hold(seconds)
    finally:
        heal()
    return Strike.since(began, touched)


def _in_use(scene: Scene) -> Volume:
    """Cold storage, as soon as sessions are archived in it."""
    if getattr(scene.stack, "cold_storage_url", None) is None:
        raise CannotStrike("this build archives nothing")
    volume = scene.volume("archives")
    if not process.wait_until(lambda: any(volume.folder.iterdir()), PATIENCE):
        raise CannotStrike(f"nothing was archived within {PATIENCE:g} s")
    return volume
