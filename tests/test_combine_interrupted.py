"""A caller whose wait is ended by a signal leaves the others' work to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from pipeline.combine import Combiner
from tests.servers import eventually

#: Seconds; nobody waits that long unless a wake-up was lost.
LOST = 30


class Gate:
    """Work that is held until it is opened, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.opened = threading.Semaphore(0)

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        assert self.opened.acquire(timeout=LOST)
        return list(batch)


class Interrupted(Exception):
    """What the signal raises."""


@contextmanager
def interrupted_when(condition: Callable[[], object]) -> Iterator[None]:
    """The block, which waits in this thread, is ended by a signal once `condition` holds."""

    def end(*_: object) -> None:
        raise Interrupted

    def watch() -> None:
        eventually(condition, LOST)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, end)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


def in_thread(combiner: Combiner[int, int], item: int, done: list[int]) -> threading.Thread:
    thread = threading.Thread(target=lambda: done.append(combiner(item)), daemon=True)
    thread.start()
    return thread


def finish(gate: Gate, threads: Sequence[threading.Thread]) -> None:
    for _ in threads:
        gate.opened.release()
    for thread in threads:
        thread.join(LOST)
        assert not thread.is_alive(), "nobody leads"


def test_who_waited_in_vain_is_no_leader_and_its_item_is_not_done() -> None:
    gate, done = Gate(), list[int]()
    combiner = Combiner(gate)
    threads = [in_thread(combiner, 1, done)]
    eventually(lambda: gate.batches)
    with interrupted_when(lambda: len(combiner._waiting) == 1):
        combiner(2)
    threads.append(in_thread(combiner, 3, done))
    eventually(lambda: len(combiner._waiting) == 1)
    finish(gate, threads)
    assert gate.batches == [[1], [3]]
    assert done == [1, 3]


def test_who_is_to_lead_when_the_signal_comes_hands_on() -> None:
    gate, done = Gate(), list[int]()
    combiner = Combiner(gate)
    threads = [in_thread(combiner, 1, done)]
    eventually(lambda: gate.batches)
    lead = combiner._lead

    def lead_or_not(mine: object, idle: float | None) -> None:
        """As where the signal comes between the wake-up and the work."""
        if threading.current_thread() is threading.main_thread():
            raise Interrupted
        lead(mine, idle)  # type: ignore[arg-type]

    combiner._lead = lead_or_not  # type: ignore[method-assign]

    def follow() -> None:
        eventually(lambda: len(combiner._waiting) == 1)
        threads.append(in_thread(combiner, 3, done))
        eventually(lambda: len(combiner._waiting) == 2)
        gate.opened.release()

    follower = threading.Thread(target=follow)
    follower.start()
    with pytest.raises(Interrupted):
        combiner(2)
    follower.join(LOST)
    finish(gate, threads)
    assert gate.batches == [[1], [3]]
    assert sorted(done) == [1, 3]


def test_whoever_leads_and_is_interrupted_lets_the_next_one_lead() -> None:
    gate, done = Gate(), list[int]()
    combiner = Combiner(gate)
    with interrupted_when(lambda: gate.batches):
        combiner(1)
    finish(gate, [in_thread(combiner, 2, done)])
    assert (gate.batches, done) == ([[1], [2]], [2])
