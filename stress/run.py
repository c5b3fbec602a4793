"""One run: load on a target, watched while it lasts, and what it came to."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import psutil

from pipeline.store.database import Database
from stress import looks
from stress.counted import counted
from stress.load.order import Order
from stress.load.recorder import Recorder
from stress.load.senders import Senders, senders
from stress.plan import Closed, Open, Plan
from stress.probe import Probe
from stress.report.figures import FaultSpan, Grid
from stress.target import Target

#: Seconds between two looks at queue and memory, and at processor time.
EVERY, CPU_EVERY = 0.5, 1.0

#: Seconds between two looks in a run that is to last longer than LONG seconds: an hour's worth is drawn, too.
LONG, EVERY_LONG = 600.0, 2.0

#: Seconds of quiet in which what the load left behind is done, before the end is looked at.
QUIET = 0.5

#: What of the workers' metrics a report tells.
TRIPS = "cite_agent_circuit_breaker_trips_total"

Tick = Callable[["Run"], None]


@dataclass
class Run:
    """A run while it goes on, and what it has measured when it is over. Moments are of the monotonic clock.

    Once `stopping` is set, nothing new is sent; what is under way is waited for, and the run ends.
    A run with faults adds its `faults` (in seconds since `start`) and `grids`, which the report shows, and `more`
    figures, by which it is compared.
    """

    plan: Plan
    target: Target
    database: Database
    name: str = field(default_factory=lambda: f"stress-{secrets.token_hex(4)}")
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_at: float = field(default_factory=time.monotonic)
    start: float = 0.0
    end: float = 0.0
    batch_memory: list[float | None] = field(default_factory=list)
    trips: tuple[float | None, float | None] = (None, None)
    faults: list[FaultSpan] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    more: dict[str, float | None] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.recorder = Recorder(open_model=isinstance(self.plan.load, Open))
        every = self.plan.look_every or (EVERY_LONG if _length(self.plan) > LONG else EVERY)
        self.queue = Probe("queue", lambda: looks.depth(self.database), every)
        self.sizes = looks.Memory(self.target.workers)
        self.memory = Probe("memory", self.sizes, every)
        spent = looks.Spent()
        self.cpu = Probe("cpu", lambda: spent.look(self._parts()), CPU_EVERY)
        self._producers: Sequence[psutil.Process] = ()
        self._stopped = False

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.start if self.start else 0.0

    @property
    def producer_names(self) -> list[str]:
        """Of the processor times of the sending processes, one each."""
        return [f"producer {number}" for number in range(1, len(self._producers) + 1)]

    @contextmanager
    def watched(self) -> Iterator[Senders]:
        """Senders that are ready, and everything looked at while the block runs."""
        order = Order(self.name, self.plan.load, self.plan.agent, self.plan.patience)
        with senders(order, self.plan.processes, self.target.environment, self.recorder.hear) as sending:
            self._producers = sending.processes
            before = self._trips()
            with ExitStack() as probes:
                for probe in (self.queue, self.memory, self.cpu):
                    probes.enter_context(probe)
                self.batch_memory.append(self.memory.look()["memory"])
                yield sending
                self.end = time.monotonic()
                time.sleep(QUIET)
            self.trips = before, self._trips()

    def send(self, sending: Senders, tick: Tick = lambda _: None) -> None:
        """The load, in all its batches. `tick` is called again and again meanwhile. Raises SenderLost."""
        for number in range(self.plan.load.batches):
            start = sending.go()
            self.start = self.start or start
            sending.join(tick=lambda: self._tick(sending, tick))
            if number + 1 < self.plan.load.batches:
                time.sleep(QUIET)
            self.batch_memory.append(self.memory.look()["memory"])
            if self.stopping.is_set():
                break

    def _tick(self, sending: Senders, tick: Tick) -> None:
        tick(self)
        if self.stopping.is_set() and not self._stopped:
            self._stopped = True
            sending.stop()

    def _parts(self) -> dict[str, looks.Roots]:
        producers = {
            name: (lambda process=process: [process])
            for name, process in zip(self.producer_names, self._producers, strict=True)
        }
        return {**self.target.parts, **producers}

    def _trips(self) -> float | None:
        return counted(self.target.metrics(), TRIPS)


def execute(plan: Plan, target: Target, tick: Tick = lambda _: None, stopping: threading.Event | None = None) -> Run:
    """Send the load and watch, until it is over or `stopping` is set.

    Raises SenderLost; whatever else goes wrong is what a run is there to measure.
    """
    database = Database(target.settings.database, size=2)
    run = Run(plan, target, database, stopping=stopping or threading.Event())
    try:
        with run.watched() as sending:
            run.send(sending, tick)
    finally:
        database.close()
    return run


def _length(plan: Plan) -> float:
    """Seconds that it takes at least."""
    load = plan.load
    if isinstance(load, Closed):
        return load.duration or 0.0
    return sum(stage.seconds for stage in load.stages)


def enough_processes(plan: Plan, cores: int) -> Plan:
    """With as many sending processes as the load is likely to need, where none was named (0)."""
    if plan.processes:
        return plan
    users = plan.load.users
    return replace(plan, processes=1 if users <= 500 else max(1, min(4, cores)))
