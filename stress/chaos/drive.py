"""Has the faults of a schedule strike, one after the other, and waits each time until what was touched runs again."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
import redis

from pipeline.errors import PipelineError
from stress.chaos.fault import CannotStrike, Fault, Strike
from stress.chaos.rows import Row
from stress.chaos.scene import GIVEN_UP, POLL, Scene
from stress.chaos.schedule import schedule

#: Seconds after which what does not run again never will.
NEVER = 120.0

#: What making a fault, and the look at what it left, may raise without being at fault itself: the machine, the
#: simulator that is told its behaviour, or a server that another look would find.
BREAKS = (
    OSError,
    subprocess.SubprocessError,
    http.client.HTTPException,
    psycopg.Error,
    redis.RedisError,
    PipelineError,
)

#: Seconds of load before the first fault, and after the last.
UNHURT = 5.0


@dataclass
class Drive:
    """One run's faults. `say` is told what happens; `seconds` is the time that the run is to last at least."""

    scene: Scene
    faults: Sequence[Fault]
    seconds: float
    say: Callable[[str], None]
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {fault.name: Row(fault) for fault in self.faults}

    def run(self) -> None:
        """Until each has struck once, or could not, and the time is over; or until the run is given up."""
        began, giving_up = time.monotonic(), self.scene.giving_up
        self.scene.play()
        giving_up.wait(UNHURT)
        for number, (fault, pause) in enumerate(schedule(self.faults, self.scene.random)):
            over = time.monotonic() - began >= self.seconds or all(row.why_not for row in self.rows.values())
            if giving_up.is_set() or (over and number >= len(self.faults)):
                break
            if not self.rows[fault.name].why_not and not giving_up.wait(pause):
                self._make(fault)
        for row in self.rows.values():
            if not row.strikes:
                row.why_not = row.why_not or GIVEN_UP
        giving_up.wait(UNHURT)

    def give_up(self) -> None:
        """Start no further fault, undo the one under way, and wait for no recovery."""
        self.scene.giving_up.set()

    def _make(self, fault: Fault) -> None:
        row = self.rows[fault.name]
        self.say(f"{fault.name} …")
        try:
            self._strike(fault, row)
            self._look_after(fault, row)
        except CannotStrike as why:
            row.why_not = str(why)
            self.say(f"{fault.name}: not run, {why}")
        except BREAKS as why:  # what the run has shown so far is not to be lost with it
            row.why_not, row.broke = f"it broke: {type(why).__name__}", True
            self.say(f"{fault.name}: {row.why_not}")

    def _strike(self, fault: Fault, row: Row) -> None:
        try:
            self.scene.play(fault.level)
            row.strikes.append(fault.strike(self.scene))
        finally:
            self.scene.play()

    def _look_after(self, fault: Fault, row: Row) -> None:
        """Wait until what it touched runs again, and the stack is whole. Where the run is given up first, neither was
        seen, and neither is held against the fault."""
        strike, giving_up = row.strikes[-1], self.scene.giving_up
        recovery = self._recovery(strike)
        if recovery is None and giving_up.is_set():
            self.say(f"{fault.name}: {len(strike.touched)} requests touched, {GIVEN_UP} before they ran again")
            return
        row.recoveries.append(recovery)
        row.whole_again &= self.scene.settle() or giving_up.is_set()
        ran = "never ran again" if recovery is None else f"all run again after {recovery:.1f} s"
        self.say(f"{fault.name}: {len(strike.touched)} requests touched, {ran}")

    def _recovery(self, strike: Strike) -> float | None:
        """Seconds from the fault's end until all that it touched runs again or has ended; None where it never does, or
        the run is given up first."""
        while (now := time.monotonic()) < strike.ended + NEVER:
            if self.scene.ledger.waiting(strike) == 0:
                return now - strike.ended
            if self.scene.giving_up.wait(POLL):
                break
        return None
