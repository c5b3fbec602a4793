"""The heartbeat: renews the lease, learns what was taken away, and watches how steadily Postgres answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from pipeline import signals
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.store.ledger import workers
from pipeline.worker.held import Held

log = structlog.get_logger(__name__)

#: Seconds after a beat that Postgres did not take until the next: leases run out meanwhile, and who has none claims
#: nothing.
AGAIN = 0.25

#: A worker lives for so many beats at least on one lease, however rarely it is to beat.
BEATS = 3

#: A clock that goes on while the machine sleeps, as leases do.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Heart:
    """One thread a worker process. `beat_every` and `lease` are seconds; `register` makes the worker known."""

    def __init__(
        self,
        database: Database,
        worker: UUID,
        held: Held,
        *,
        lease: float,
        beat_every: float,
        register: Callable[[], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._held = held
        self._lease = lease
        self._beat_every = min(beat_every, lease / BEATS)
        self._register = register
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeline-heart", daemon=True)
        self._steady_since = self._last_beat = _now()
        self._reviving = threading.Lock()
        self._claimed_through: dict[int, datetime] = {}
        self._claimed_lock = threading.Lock()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    @property
    def steady_for(self) -> float:
        """Seconds for which every beat has come in time. While Postgres was away, or this process stood still,
        others could not renew their leases either, or this one could not have seen it."""
        now = _now()
        return 0.0 if self._is_late(now) else now - self._steady_since

    def revive(self) -> None:
        """Beat now, from any thread, unless another does: the lease may have run out."""
        called = _now()
        with self._reviving:
            if self._last_beat < called:
                self.beat()

    def claimed(self, queue: int, published_at: datetime) -> None:
        """Remember how far a queue has come, for recovery to tell what was lost in it."""
        with self._claimed_lock:
            newest = self._claimed_through.get(queue)
            if newest is None or published_at > newest:
                self._claimed_through[queue] = published_at

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            until_overdue = self._held.interrupt_overdue()
            if (now := time.monotonic()) >= due:
                taken = self._beat_whatever_happens()
                due = now + self._beat_every if taken else time.monotonic() + min(AGAIN, self._beat_every)
            self._stopping.wait(max(0.01, min(until_overdue, due - time.monotonic(), 0.5)))

    def _beat_whatever_happens(self) -> bool:
        try:
            return self.beat()
        except Exception:  # the thread's top: without it the process would live on, and claim nothing for ever
            signals.thread_failed("heart")
            log.exception("heartbeat_failed")
            return False

    def beat(self) -> bool:
        """Renew the lease, and stop what is not this worker's any more. Returns whether Postgres took it."""
        held = self._held.fences()
        try:
            kept = self._renew(held)
            if kept is None:
                self._register_again()
                kept = self._renew(held) or {}
        except UNAVAILABLE as fault:
            signals.ledger_failed("heartbeat")
            log.warning("heartbeat_failed", error=type(fault).__name__)
            return False
        self._note_beat()
        for request_id, fence in held.items():
            if kept.get(request_id) != fence:
                self._held.interrupt(request_id, "claim lost", fence=fence)
        return True

    def _renew(self, held: dict[UUID, int]) -> dict[UUID, int] | None:
        with self._claimed_lock:
            through = dict(self._claimed_through)
        return workers.renew(self._database, self._worker, lease=self._lease, held=held, claimed_through=through)

    def _register_again(self) -> None:
        """After a sleep of a day, or in a database that was restored, nobody knows this worker, which could claim
        nothing for ever and would take each delivery for a duplicate."""
        signals.worker_forgotten()
        log.warning("worker_forgotten", worker_id=str(self._worker))
        self._register()

    def _note_beat(self) -> None:
        now = _now()
        if self._is_late(now):
            signals.heartbeat_late()
            log.warning("heartbeat_late", seconds=round(now - self._last_beat, 1))
            self._steady_since = now
        self._last_beat = now

    def _is_late(self, now: float) -> bool:
        return now - self._last_beat > self._lease - self._beat_every


def _now() -> float:
    """Seconds."""
    return time.clock_gettime(_CLOCK)
