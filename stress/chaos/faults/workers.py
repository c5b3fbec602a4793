"""Workers, and the clock, are killed and frozen. The stack's supervisor starts again what dies, as any would."""

from __future__ import annotations

import signal
import sys
import time

from pipeline import beat
from pipeline.local import process
from pipeline.local.process import Launch
from pipeline.local.program import Program
from stress.chaos.fault import FULL, HALF, LEAST, WANTED, CannotStrike, Strike, Touched, fault
from stress.chaos.scene import Scene

#: A worker is full from this share of its slots on, and half full up to the other.
NEARLY_ALL, HALF_AT_MOST = 0.9, 0.75

#: How much longer than its lease a worker stands still.
PAST = 1.5

#: Seconds for which two beats tick.
TWO_BEATS = 10.0

#: Seconds for the second one to beat for the first time.
FIRST_BEAT = 60.0


@fault("worker_killed_full", FULL)
def kill_full(scene: Scene) -> Strike:
    """SIGKILL a worker whose slots are all taken. Touched: what it ran."""
    return _kill(scene, least=scene.settings.worker_slots * NEARLY_ALL)


@fault("worker_killed_half", HALF)
def kill_half(scene: Scene) -> Strike:
    """SIGKILL a worker with slots to spare, about half of them. Touched: what it ran."""
    return _kill(scene, least=LEAST, most=scene.settings.worker_slots * HALF_AT_MOST)


@fault("all_workers_killed", FULL)
def kill_all(scene: Scene) -> Strike:
    """SIGKILL every worker at once, the one for upkeep too. Touched: what they ran."""
    victims = [*scene.stack.workers, scene.program("upkeep")]
    touched = scene.enough(lambda: scene.ledger.run_by(victim.pid for victim in victims), least=2 * WANTED)
    members = [member for victim in victims for member in process.family(victim.pid or 0)]
    began = time.monotonic()
    process.send(members, signal.SIGKILL)
    return Strike.at(began, touched, anew=True)


@fault("worker_frozen", HALF)
def freeze(scene: Scene) -> Strike:
    """Stop a worker in its tracks for longer than its lease, and wake it. Touched: what it ran."""
    victim = scene.any_worker()
    touched = scene.enough(lambda: scene.ledger.run_by([victim.pid]), least=LEAST)
    began = time.monotonic()
    try:
        victim.freeze()
        scene.hold(scene.settings.lease * PAST)
    finally:
        victim.thaw()
    return Strike.since(began, touched)


@fault("beat_killed", HALF)
def kill_beat(scene: Scene) -> Strike:
    """SIGKILL beat. Touched: all that is unfinished, for whatever may need recovery is looked at by its clock."""
    touched = scene.enough(scene.ledger.unfinished)
    began = time.monotonic()
    scene.program("beat").kill()
    return Strike.at(began, touched)


@fault("two_beats", HALF)
def two_beats(scene: Scene) -> Strike:
    """Run a second beat beside the first, for 10 s from its first beat on. Touched: all that is unfinished."""
    folder = scene.stack.data
    command = [sys.executable, "-m", "celery", "-A", "pipeline", "beat", "--pidfile="]
    command += ["-s", str(folder / "second-beat-schedule")]
    second = Program("second beat", Launch(command, folder / "logs" / "second-beat.log", scene.target.environment))
    try:
        second.launch()
        if not scene.comes_true(lambda: _beats(scene, second) > 0, FIRST_BEAT):
            raise CannotStrike(f"no second beat within {FIRST_BEAT:g} s")
        first_beat, touched = _beats(scene, second), scene.enough(scene.ledger.unfinished)
        began = time.monotonic()
        scene.hold(TWO_BEATS)
        if not second.alive or _beats(scene, second) <= first_beat:
            raise CannotStrike(f"the second beat did not go on for {TWO_BEATS:g} s")
    finally:
        second.kill()
    return Strike.since(began, touched)


def _beats(scene: Scene, second: Program) -> float:
    """When it last sent something, in seconds of its clock; 0 before it has."""
    with scene.redis() as client:
        seen = beat.last_seen(client)
    return max((when for name, when in seen.items() if name.endswith(f":{second.pid}")), default=0.0)


def _kill(scene: Scene, *, least: float, most: float = float("inf")) -> Strike:
    victim = scene.any_worker()
    touched: Touched = scene.at_level(lambda: scene.ledger.run_by([victim.pid]), least, most)
    began = time.monotonic()
    victim.kill()
    return Strike.at(began, touched, anew=True)
