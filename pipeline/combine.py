"""What waits at the same moment shares one piece of work: group commit, for any verb that takes a batch.

A caller that finds nobody at work does its own item at once, in its own thread: a lone item pays nothing. Those that
come meanwhile wait, and the first of them takes all of them as the next batch. One batch at a time: with more, each
would be smaller, and it is the size of a batch that makes it cheap.

Where there is hardly a pause between batches, they can be made to wait for company, as Postgres does between commits
(`commit_delay`): what a batch costs besides its items is then spent less often, and where processors are what is
short, everybody is answered sooner for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

#: Seconds that are remembered, and the share of them with something to do from which on batches wait for company.
LATELY, BUSY = 0.25, 0.5

#: Seconds that a batch waits for company at most, and a size at which its fixed cost is shared well enough.
LONGEST_REST, ENOUGH = 0.05, 32

#: How many must come late in a rest, on average, for it to be worth it; and after how many batches that is tried.
COMPANY, PROBE = 0.25, 16

#: For batches of which each is a statement and a commit: between 1 and 3 they differ by less than two runs do
#: (`python -m stress.overhead`), and without a rest 500 users at once are answered at three quarters of the rate.
RESTS = 2.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches(
    items: Iterable[Item], weigh: Callable[[Item], float], *, most: int, heaviest: float
) -> Iterator[list[Item]]:
    """The items in their order, in batches of at most `most`, and no heavier than `heaviest` but for one item alone."""
    batch: list[Item] = []
    weight = 0.0
    for item in items:
        added = weigh(item)
        if batch and (len(batch) == most or weight + added > heaviest):
            yield batch
            batch, weight = [], 0.0
        batch.append(item)
        weight += added
    if batch:
        yield batch


class _Waiting(Generic[Item, Result]):
    __slots__ = ("batch", "done", "fault", "item", "result", "turn", "weight")

    def __init__(self, item: Item, weight: float) -> None:
        self.item = item
        self.weight = weight
        self.turn = threading.Lock()
        self.turn.acquire()
        #: What this caller is to do for itself and others, once it leads.
        self.batch: list[_Waiting[Item, Result]] = []
        self.done = False
        self.result: Result | None = None
        self.fault: Exception | None = None


class _Pace:
    """How busy a combiner is, and whether waiting for company brings any. For whoever leads."""

    def __init__(self) -> None:
        self.free_since = self._began = time.monotonic()
        #: Share of the time, lately, in which there was something to do.
        self._busy = 0.0
        #: Seconds that a batch takes.
        self._took = 0.0
        #: How many come in the second half of a rest. None do where all who could come wait already.
        self._late = 0.0
        self._unrested = 0

    def begin(self, idle: float) -> None:
        """A batch begins; of the time since the last one began, `idle` seconds were idle."""
        now = time.monotonic()
        since, self._began = max(now - self._began, 1e-9), now
        kept = math.exp(-since / LATELY)
        self._busy = kept * self._busy + (1 - kept) * max(0.0, 1 - idle / since)

    def rest(self, rests: float, waiting: Callable[[], int], *, handed_on: bool) -> None:
        """Let more come, up to so many times as long as a batch takes, if that is worth it. Whether it is, is tried
        now and then where a batch was handed on: somebody came while the last one was done."""
        self._unrested += handed_on
        if self._busy < BUSY or (self._late < COMPANY and self._unrested < PROBE):
            return
        self._unrested = 0
        half = min(rests * self._took, LONGEST_REST) / 2
        time.sleep(half)
        early = waiting()
        time.sleep(half)
        self._late += (waiting() - early - self._late) / 8

    @contextmanager
    def working(self) -> Iterator[None]:
        """A batch is done within."""
        began = time.monotonic()
        yield
        self._took += (time.monotonic() - began - self._took) / 4


class Combiner(Generic[Item, Result]):
    """Calls `work` with batches of at most `most` items, in the order of arrival, one after the other.

    `work` returns one result an item, in order. What it raises, each caller of that batch is raised; but after
    `refusals`, which are one item's fault, a batch is done item by item, and its other callers have their results.
    A signal that interrupts whoever does a batch is raised to that caller; the others' items are done anew.

    `rests` is how many times as long as a batch takes the next one waits for company while there is hardly a pause.
    `weigh` says what an item adds to a batch, which is `heaviest` at most, unless one item alone is more.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        most: int = 200,
        refusals: tuple[type[Exception], ...] = (),
        rests: float = 0.0,
        weigh: Callable[[Item], float] = lambda _: 0,
        heaviest: float = math.inf,
    ) -> None:
        self._work = work
        self._weigh = weigh
        self._heaviest = heaviest
        self._most = most
        self._refusals = refusals
        self._rests = rests
        self._pace = _Pace()
        self._lock = threading.Lock()
        self._free = True
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._afterwards: list[Callable[[], None]] = []

    def __call__(self, item: Item) -> Result:
        mine: _Waiting[Item, Result] = _Waiting(item, self._weigh(item))
        idle: float | None = None
        try:
            with self._lock:
                self._waiting.append(mine)
                if self._free:
                    mine.batch, self._free = self._take(), False
                    idle = time.monotonic() - self._pace.free_since
            if not mine.batch:
                mine.turn.acquire()  # until somebody did the item, or it is this caller's turn to lead
            if mine.batch:
                self._lead(mine, idle)
        except BaseException:
            self._step_aside(mine)
            raise
        if mine.fault is not None:
            raise mine.fault
        return mine.result  # type: ignore[return-value]  # done, and without a fault: it is there

    def afterwards(self, job: Callable[[], None]) -> None:
        """From within `work`: have `job`, which must not raise, done when this batch has its results.

        The callers do not wait for it, but for the one whose thread does it, nor does the next batch.
        """
        self._afterwards.append(job)

    def _take(self, company: Sequence[_Waiting[Item, Result]] = ()) -> list[_Waiting[Item, Result]]:
        """Those that go along with `company`, or are the next batch."""
        room, left = self._most - len(company), self._heaviest - sum(one.weight for one in company)
        taken: list[_Waiting[Item, Result]] = []
        while self._waiting and len(taken) < room:
            left -= self._waiting[0].weight
            if left < 0 and (taken or company):
                break
            taken.append(self._waiting.popleft())
        return taken

    def _step_aside(self, mine: _Waiting[Item, Result]) -> None:
        """A signal has ended the wait of this caller, whom others may take for their leader, now or later."""
        with self._lock:
            led, mine.batch = mine.batch, []
            self._waiting.extendleft(reversed(led[1:]))
            if mine in self._waiting:
                self._waiting.remove(mine)
        if led:
            self._hand_on()

    def _lead(self, mine: _Waiting[Item, Result], idle: float | None) -> None:
        """Do a batch, after `idle` seconds of nobody at work, or, where that is None, handed on by whoever led."""
        # Taken out: it holds what it is taken from, and what leads in circles stays until a collector comes by.
        batch, mine.batch = mine.batch, []
        try:
            if self._rests:
                batch = self._with_company(batch, idle)
            with self._pace.working():
                self._do(batch)
        except BaseException:  # an interrupt, which is this caller's alone: faults are in the items
            batch = self._leave(batch)
            raise
        finally:
            jobs, self._afterwards = self._afterwards, []
            for follower in batch[1:]:
                follower.turn.release()
            self._hand_on()
        for job in jobs:
            job()

    def _with_company(self, batch: list[_Waiting[Item, Result]], idle: float | None) -> list[_Waiting[Item, Result]]:
        self._pace.begin(idle or 0.0)
        if len(batch) >= ENOUGH:
            return batch
        self._pace.rest(self._rests, lambda: len(self._waiting), handed_on=idle is None)
        with self._lock:
            return [*batch, *self._take(batch)]

    def _leave(self, batch: list[_Waiting[Item, Result]]) -> list[_Waiting[Item, Result]]:
        """Have the next batch begin with those whose items are not done. Returns the others, the leader first."""
        with self._lock:
            self._waiting.extendleft(one for one in reversed(batch[1:]) if not one.done)
        return [batch[0], *(one for one in batch[1:] if one.done)]

    def _hand_on(self) -> None:
        with self._lock:
            batch = self._take()
            if not batch:
                self._free = True
                self._pace.free_since = time.monotonic()
                return
            batch[0].batch = batch
        batch[0].turn.release()

    def _do(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            for waiting, result in zip(batch, self._work([one.item for one in batch]), strict=True):
                waiting.result, waiting.done = result, True
        except BaseException as fault:
            if not isinstance(fault, Exception):
                raise
            if len(batch) > 1 and isinstance(fault, self._refusals):
                for waiting in batch:
                    self._do([waiting])
                return
            for waiting in batch:
                waiting.fault, waiting.done = fault, True
