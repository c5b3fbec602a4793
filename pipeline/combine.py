"""What waits at the same moment shares one piece of work: group commit, for any verb that takes a batch.

A caller that finds nobody at work does its own item at once, in its own thread: a lone item pays nothing. Those that
come meanwhile wait, and the first of them takes all of them as the next batch. One batch at a time: with more, each
would be smaller, and it is the size of a batch that makes it cheap.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(Generic[Item, Result]):
    __slots__ = ("batch", "fault", "item", "result", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.turn = threading.Lock()
        self.turn.acquire()
        #: What this caller is to do for itself and others, once it leads.
        self.batch: list[_Waiting[Item, Result]] = []
        self.result: Result | None = None
        self.fault: BaseException | None = None


class Combiner(Generic[Item, Result]):
    """Calls `work` with batches of at most `most` items, in the order of arrival, one after the other.

    `work` returns one result an item, in order. What it raises, each caller of that batch is raised; but after
    `refusals`, which are one item's fault, a batch is done item by item, and its other callers have their results.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        most: int = 200,
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        self._work = work
        self._most = most
        self._refusals = refusals
        self._lock = threading.Lock()
        self._free = True
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._afterwards: list[Callable[[], None]] = []

    def __call__(self, item: Item) -> Result:
        mine: _Waiting[Item, Result] = _Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            if self._free:
                self._free = False
                mine.batch = self._take()
        if not mine.batch:
            mine.turn.acquire()  # until somebody did the item, or it is this caller's turn to lead
        if mine.batch:
            self._lead(mine.batch)
        if mine.fault is not None:
            raise mine.fault
        return mine.result  # type: ignore[return-value]  # done, and without a fault: it is there

    def afterwards(self, job: Callable[[], None]) -> None:
        """From within `work`: have `job`, which must not raise, done when this batch has its results.

        The callers do not wait for it, but for the one whose thread does it, nor does the next batch.
        """
        self._afterwards.append(job)

    def _take(self) -> list[_Waiting[Item, Result]]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]

    def _lead(self, batch: list[_Waiting[Item, Result]]) -> None:
        try:
            self._do(batch)
        finally:
            jobs, self._afterwards = self._afterwards, []
            for follower in batch[1:]:
                follower.turn.release()
            self._hand_on()
        for job in jobs:
            job()

    def _hand_on(self) -> None:
        with self._lock:
            batch = self._take()
            if not batch:
                self._free = True
                return
            batch[0].batch = batch
        batch[0].turn.release()

    def _do(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            for waiting, result in zip(batch, self._work([one.item for one in batch]), strict=True):
                waiting.result = result
        except BaseException as fault:
            if len(batch) > 1 and isinstance(fault, self._refusals):
                for waiting in batch:
                    self._do([waiting])
                return
            for waiting in batch:
                waiting.fault = fault
            if not isinstance(fault, Exception):
                raise
