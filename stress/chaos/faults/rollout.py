"""A new version is rolled out, while everybody works."""

from __future__ import annotations

import time

from pipeline.local import process
from stress.chaos.fault import HALF, LEAST, Strike, Touched, fault
from stress.chaos.scene import PATIENCE, Scene


@fault("rolling_restart", HALF)
def rolling_restart(scene: Scene) -> Strike:
    """SIGTERM each worker in turn, and go on when its replacement is ready. Touched: what each ran at that moment."""
    touched: Touched = {}
    began = time.monotonic()
    for worker in scene.stack.workers:
        old = worker.pid
        touched = {**scene.enough(lambda pid=old: scene.ledger.run_by([pid]), LEAST), **touched}  # type: ignore[misc]
        worker.ask_to_stop()
        process.wait_until(lambda one=worker, pid=old: one.pid != pid and one.is_ready(), PATIENCE)  # type: ignore[misc]
    return Strike.since(began, touched)
