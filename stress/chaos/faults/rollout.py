"""A new version is rolled out, while everybody works."""

from __future__ import annotations

import time

from pipeline.local.errors import NotReady
from pipeline.local.program import Program
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
        _await_replacement(scene, worker, old)
    return Strike.since(began, touched)


def _await_replacement(scene: Scene, worker: Program, old: int | None) -> None:
    """Raises NotReady where there is none in time, for then the rollout has failed."""
    if not scene.comes_true(lambda: worker.pid != old and worker.is_ready(), PATIENCE):
        raise NotReady(worker.name, f"was not replaced within {PATIENCE:g} s", worker.log, worker.said())
