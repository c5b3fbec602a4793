"""The broker dies, forgets, stands still, hangs up. Touched each time: what is published and does not run yet, whose
message lies in the broker. What runs does not need it, and is looked after by the whole run's checks."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from stress.chaos.fault import FULL, CannotStrike, Strike, fault
from stress.chaos.scene import Scene

#: Seconds for which it stands still.
FROZEN = 10.0

#: How often connections are reset, and how many seconds apart.
RESETS, APART = 5, 1.0


@fault("broker_killed", FULL)
def kill(scene: Scene) -> Strike:
    """SIGKILL the broker, which comes back with its data, its last second aside. Touched: what lay in it."""
    touched = scene.enough(scene.ledger.at_broker)
    began = time.monotonic()
    scene.broker.kill()
    return Strike.at(began, touched)


@fault("broker_data_lost", FULL)
def lose_data(scene: Scene) -> Strike:
    """SIGKILL the broker and remove its data before it comes back. Touched: what lay in it."""
    touched = scene.enough(scene.ledger.at_broker)
    began = time.monotonic()
    scene.broker.kill()
    _remove_all(scene.broker.data)
    if scene.broker.alive or any(scene.broker.data.iterdir()):
        raise CannotStrike("the broker came back before its data were removed")
    return Strike.at(began, touched)


def _remove_all(folder: Path) -> None:
    """What is in it; the folder itself may be a file system's root. Raises OSError."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@fault("broker_emptied", FULL)
def empty(scene: Scene) -> Strike:
    """FLUSHALL. Touched: what lay in it."""
    touched = scene.enough(scene.ledger.at_broker)
    began = time.monotonic()
    with scene.redis() as client:
        client.flushall()
    return Strike.at(began, touched)


@fault("broker_frozen", FULL)
def freeze(scene: Scene) -> Strike:
    """SIGSTOP the broker for 10 s, its connections open. Touched: what lay in it."""
    touched = scene.enough(scene.ledger.at_broker)
    began = time.monotonic()
    try:
        scene.broker.freeze()
        scene.hold(FROZEN)
    finally:
        scene.broker.thaw()
    return Strike.since(began, touched)


@fault("broker_cut", FULL)
def reset_connections(scene: Scene) -> Strike:
    """Cut all of the broker's connections, five times within five seconds. Touched: what lay in it."""
    touched = scene.enough(scene.ledger.at_broker)
    began = time.monotonic()
    for _ in range(RESETS):
        with scene.redis() as client:
            client.client_kill_filter(_type="pubsub", skipme=True)
            client.client_kill_filter(_type="normal", skipme=True)
        scene.hold(APART)
    return Strike.since(began, touched)
