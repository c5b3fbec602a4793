"""What waits at the same moment shares one piece of work."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import pytest

from pipeline.combine import Combiner
from tests.servers import eventually

#: Seconds; nobody waits that long unless a wake-up was lost.
LOST = 30


class Gate:
    """Work that doubles numbers, and holds its first batch until it is opened."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[int] = []
        self.opened = threading.Event()

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        self.threads.append(threading.get_ident())
        assert self.opened.wait(LOST)
        if 13 in batch:
            raise ValueError("thirteen")
        return [2 * one for one in batch]


def pile_up(
    combiner: Combiner[int, int], gate: Gate, items: Sequence[int]
) -> tuple[ThreadPoolExecutor, list[Future[int]]]:
    """A first call (0) that is held at the gate, and `items` that wait behind it, in their order."""
    threads = ThreadPoolExecutor(len(items) + 1)
    calls = [threads.submit(combiner, 0)]
    eventually(lambda: gate.batches)
    for count, item in enumerate(items, 1):
        calls.append(threads.submit(combiner, item))
        eventually(lambda count=count: len(combiner._waiting) == count)  # type: ignore[misc]
    return threads, calls


def test_a_lone_call_runs_at_once_in_its_callers_thread() -> None:
    gate = Gate()
    gate.opened.set()
    combiner = Combiner(gate)
    assert [combiner(one) for one in (1, 2, 3)] == [2, 4, 6]
    assert gate.batches == [[1], [2], [3]]
    assert gate.threads == [threading.get_ident()] * 3


def test_a_result_is_gone_with_its_caller_and_waits_for_no_collector() -> None:
    class Thing:
        pass

    combiner: Combiner[int, Thing] = Combiner(lambda batch: [Thing() for _ in batch])
    gc.disable()
    try:
        result = weakref.ref(combiner(1))
        assert result() is None
    finally:
        gc.enable()


def test_what_comes_meanwhile_is_the_next_batch_in_its_order() -> None:
    gate = Gate()
    threads, calls = pile_up(Combiner(gate), gate, [5, 3, 4, 1])
    gate.opened.set()
    with threads:
        assert [one.result(LOST) for one in calls] == [0, 10, 6, 8, 2]
    assert gate.batches == [[0], [5, 3, 4, 1]]


def test_a_batch_has_at_most_its_size() -> None:
    gate = Gate()
    threads, calls = pile_up(Combiner(gate, most=3), gate, [1, 2, 3, 4, 5, 6, 7])
    gate.opened.set()
    with threads:
        assert [one.result(LOST) for one in calls] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert gate.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]


def test_what_work_raises_reaches_every_caller_of_that_batch_and_no_other() -> None:
    gate = Gate()
    threads, calls = pile_up(Combiner(gate, most=3), gate, [1, 13, 2, 3, 4])
    gate.opened.set()
    with threads:
        faults = [one.exception(LOST) for one in calls]
    assert [type(fault) for fault in faults] == [type(None), ValueError, ValueError, ValueError, type(None), type(None)]


@pytest.mark.parametrize("wrong", [[], [1], [1, 2, 3]], ids=len)
def test_work_that_loses_a_result_is_a_fault_of_the_whole_batch(wrong: list[int]) -> None:
    gate = Gate()

    def work(batch: Sequence[int]) -> list[int]:
        return gate(batch) if len(batch) == 1 else wrong

    threads, calls = pile_up(Combiner(work), gate, [1, 2])
    gate.opened.set()
    with threads:
        assert [type(one.exception(LOST)) for one in calls] == [type(None), ValueError, ValueError]


def test_after_a_fault_work_goes_on() -> None:
    gate = Gate()
    gate.opened.set()
    combiner = Combiner(gate)
    with pytest.raises(ValueError, match="thirteen"):
        combiner(13)
    assert combiner(4) == 8


def test_one_batch_is_worked_on_at_a_time() -> None:
    working = threading.Lock()

    def work(batch: Sequence[int]) -> Sequence[int]:
        assert working.acquire(blocking=False), "two at once"
        try:
            return list(batch)
        finally:
            working.release()

    combiner = Combiner(work, most=7)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(combiner, range(2000))) == list(range(2000))


def test_no_wake_up_is_lost_among_sixty_four_threads() -> None:
    sizes: list[int] = []

    def work(batch: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        sizes.append(len(batch))
        if random.random() < 0.05:
            raise ConnectionError
        return list(batch)

    combiner = Combiner(work, most=20)
    start = threading.Barrier(64)
    order: list[tuple[int, int]] = []

    def call(caller: int) -> tuple[int, int]:
        right = failed = 0
        start.wait(LOST)
        for n in range(100):
            try:
                right += combiner((caller, n)) == (caller, n)
            except ConnectionError:
                failed += 1
            order.append((caller, n))
        return right, failed

    with ThreadPoolExecutor(64) as threads:
        results = [one.result(LOST) for one in [threads.submit(call, caller) for caller in range(64)]]
    assert sum(right + failed for right, failed in results) == 6400 == sum(sizes)
    assert max(sizes) <= 20
    for caller in range(64):
        mine = [n for one, n in order if one == caller]
        assert all(a < b for a, b in pairwise(mine))


def test_an_interrupt_ends_its_own_caller_alone_and_the_others_have_their_results() -> None:
    gate = Gate()

    def work(batch: Sequence[int]) -> list[int]:
        if batch[0] == 1:
            raise KeyboardInterrupt
        return gate(batch)

    combiner = Combiner(work)
    threads, calls = pile_up(combiner, gate, [1, 2, 3])
    gate.opened.set()
    with threads:
        assert isinstance(calls[1].exception(LOST), KeyboardInterrupt)
        assert [calls[number].result(LOST) for number in (0, 2, 3)] == [0, 4, 6]
    assert gate.batches == [[0], [2, 3]]
    assert combiner(4) == 8


def test_what_was_done_before_an_interrupt_is_not_done_again() -> None:
    gate = Gate()

    def work(batch: Sequence[int]) -> list[int]:
        if batch == [1]:
            raise KeyboardInterrupt
        return gate(batch)

    combiner = Combiner(work, refusals=(ValueError,))
    threads, calls = pile_up(combiner, gate, [2, 5, 1, 13])
    gate.opened.set()
    with threads:
        # whoever leads does one after the other once 13 is refused, and is interrupted at the third
        assert isinstance(calls[1].exception(LOST), KeyboardInterrupt)
        assert calls[2].result(LOST) == 10
        assert isinstance(calls[3].exception(LOST), KeyboardInterrupt)
        assert isinstance(calls[4].exception(LOST), ValueError)
    assert gate.batches == [[0], [2, 5, 1, 13], [2], [5], [1, 13], [13]]


def test_what_is_left_for_afterwards_holds_up_neither_the_callers_nor_the_next_batch() -> None:
    gate, aftermath = Gate(), threading.Event()
    done: list[list[int]] = []

    def job(batch: Sequence[int]) -> None:
        assert aftermath.wait(LOST)
        done.append(list(batch))

    def work(batch: Sequence[int]) -> list[int]:
        combiner.afterwards(lambda: job(batch))
        return gate(batch)

    combiner: Combiner[int, int] = Combiner(work)
    threads, calls = pile_up(combiner, gate, [1, 2, 3])
    gate.opened.set()
    with threads:
        assert [one.result(LOST) for one in calls[2:]] == [4, 6]  # whose leader, like the first, is at its job
        assert not done
        assert not any(one.done() for one in calls[:2])
        aftermath.set()
        assert [one.result(LOST) for one in calls[:2]] == [0, 2]
    assert sorted(done) == [[0], [1, 2, 3]]


def test_a_batch_is_no_heavier_than_it_may_be_unless_it_is_one_item() -> None:
    gate = Gate()
    combiner = Combiner(gate, weigh=float, heaviest=10)
    threads, calls = pile_up(combiner, gate, [4, 6, 1, 25, 5, 5, 5])
    gate.opened.set()
    with threads:
        assert [call.result(LOST) for call in calls] == [0, 8, 12, 2, 50, 10, 10, 10]
    assert gate.batches == [[0], [4, 6], [1], [25], [5, 5], [5]]
