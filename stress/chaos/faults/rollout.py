"""A new version is rolled out, while everybody works."""

from __future__ import annotations

import time

from pipeline.local import process
from pipeline.local.errors import NotReady
from pipeline.local.program import Program
from stress.chaos.fault import HALF, LEAST, CannotStrike, Strike, Touched, fault
from stress.chaos.scene import GIVEN_UP, PATIENCE, Scene


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
    if process.wait_until(lambda: worker.pid != old and worker.is_ready(), PATIENCE, unless=scene.giving_up):
        return
    if scene.giving_up.is_set():
        raise CannotStrike(GIVEN_UP)
    raise NotReady(worker.name, f"was not replaced within {PATIENCE:g} s", worker.log, worker.said())
