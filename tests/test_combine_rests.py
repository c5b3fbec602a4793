"""Where batches follow each other without a pause, they wait for company, by a clock of the tests' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pipeline import combine
from pipeline.combine import Combiner
from tests.servers import eventually
from tests.test_combine import LOST, Gate


class Clock:
    """Time that passes only where somebody works or rests. `meanwhile` happens in every rest."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()
        self.now += seconds

    def work(self, batch: Sequence[int]) -> list[int]:
        self.now += 0.004
        return list(batch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(combine, "time", made)
    return made


def busy_pace(clock: Clock) -> combine._Pace:
    """One of batches of 4 ms without a pause in between."""
    pace = combine._Pace()
    for _ in range(200):
        pace.begin(0.0)
        with pace.working():
            clock.now += 0.004
    return pace


def test_where_there_is_time_between_batches_nobody_waits_for_company(clock: Clock) -> None:
    combiner = Combiner(clock.work, rests=2)
    for one in range(500):
        clock.now += 0.005
        assert combiner(one) == one
    assert clock.slept == []


def test_whoever_calls_again_and_again_alone_never_waits_for_company(clock: Clock) -> None:
    combiner = Combiner(clock.work, rests=2)
    assert [combiner(one) for one in range(500)] == list(range(500))
    assert clock.slept == []


def test_where_batches_follow_each_other_they_wait_for_company_as_long_as_it_comes(clock: Clock) -> None:
    pace, come = busy_pace(clock), iter(range(10_000))
    for _ in range(200):
        pace.rest(2, lambda: next(come), handed_on=True)  # one more at each look
    assert len(clock.slept) > 300, "once tried, nearly every time"
    assert clock.slept == pytest.approx([0.004] * len(clock.slept)), "twice as long as a batch takes, in two halves"


def test_where_all_who_could_come_wait_already_company_is_waited_for_but_now_and_then(clock: Clock) -> None:
    pace = busy_pace(clock)
    for _ in range(320):
        pace.rest(2, lambda: 5, handed_on=True)
    assert len(clock.slept) == 2 * 320 // combine.PROBE


def test_company_is_not_waited_for_longer_than_the_longest_rest_however_long_a_batch_takes(clock: Clock) -> None:
    pace = busy_pace(clock)
    for _ in range(20):
        pace.begin(0.0)
        with pace.working():
            clock.now += 15  # the ledger does not answer
    for _ in range(combine.PROBE):
        pace.rest(2, lambda: 5, handed_on=True)
    assert sum(clock.slept) == pytest.approx(combine.LONGEST_REST)


def test_who_comes_in_a_rest_is_in_the_batch_up_to_its_size(clock: Clock) -> None:
    gate = Gate()
    combiner: Combiner[int, int] = Combiner(gate, rests=2, most=4)
    combiner._pace = busy_pace(clock)
    combiner._pace._late = 1.0
    threads = ThreadPoolExecutor(6)
    numbers = iter(range(1, 7))
    late: list[Future[int]] = []

    def two_come() -> None:
        for count in range(len(combiner._waiting) + 1, len(combiner._waiting) + 3):
            late.append(threads.submit(combiner, next(numbers)))
            eventually(lambda count=count: len(combiner._waiting) == count)  # type: ignore[misc]

    clock.meanwhile = two_come
    gate.opened.set()
    with threads:
        assert combiner(0) == 0
        clock.meanwhile = lambda: None
        assert [one.result(LOST) for one in late] == [2, 4, 6, 8]
    assert gate.batches == [[0, 1, 2, 3], [4]]


def test_an_interrupt_in_a_rest_ends_that_batch_and_does_not_block_the_next_one(clock: Clock) -> None:
    combiner: Combiner[int, int] = Combiner(clock.work, rests=2)
    combiner._pace = busy_pace(clock)
    combiner._pace._late = 1.0

    def interrupt() -> None:
        raise KeyboardInterrupt

    clock.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        combiner(1)
    clock.meanwhile = lambda: None
    assert combiner(2) == 2
