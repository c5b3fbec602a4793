from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stress.overhead import load
from stress.overhead.load import Caller, ClosedLoop
from stress.usage import cpu_seconds, megabytes


class Echo:
    """Answers at once, and counts what each user has under way."""

    def __init__(self, fails_at: str = "") -> None:
        self.lock = threading.Lock()
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.fails_at = fails_at

    def submit(self, user: str, text: str) -> Callable[[], None]:
        if text == self.fails_at:
            raise ConnectionError("no broker")
        with self.lock:
            self.under_way[user] += 1
            self.most[user] = max(self.most[user], self.under_way[user])

        def wait() -> None:
            with self.lock:
                self.under_way[user] -= 1
                self.answered[user] += 1

        return wait

    def close(self) -> None: ...


def test_each_user_has_one_request_under_way_at_most_and_sends_all_of_them() -> None:
    caller = Echo()
    timing = ClosedLoop(caller, "run", users=20).round(requests=5)
    assert set(caller.most.values()) == {1}
    assert caller.answered == {f"run-{number}": 5 for number in range(20)}
    assert len(timing.latencies) == 100
    assert 0 < max(timing.latencies) <= timing.elapsed


@pytest.mark.parametrize(("apart", "after"), [(True, 0.02), (False, 0.0)], ids=["apart", "together"])
def test_users_begin_one_after_the_other_or_in_one_instant(
    monkeypatch: pytest.MonkeyPatch, *, apart: bool, after: float
) -> None:
    waited = list[float]()
    monkeypatch.setattr(load, "time", SimpleNamespace(sleep=waited.append, perf_counter=time.perf_counter))
    timing = ClosedLoop(Echo(), "run", users=10).round(requests=1, apart=apart)
    assert len(timing.latencies) == 10
    assert sorted(waited) == pytest.approx([number * after for number in range(10)])


def test_a_request_that_fails_ends_the_measurement() -> None:
    caller: Caller = Echo(fails_at="question 3")
    with pytest.raises(ConnectionError, match="no broker"):
        ClosedLoop(caller, "run", users=4).round(requests=5)


def test_cpu_seconds_of_a_child_that_has_ended_still_count() -> None:
    me = psutil.Process()
    before = cpu_seconds([me])
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert cpu_seconds([me]) - before >= 0.28


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux counts to the nanosecond")
def test_cpu_seconds_of_many_processes_that_each_did_little_add_up() -> None:
    burn = "import time; print(flush=True); input(); end = time.process_time() + 0.004\n"
    burn += "while time.process_time() < end: pass\nprint(flush=True); input()"
    with ExitStack() as stack:
        many = [stack.enter_context(_talking(burn)) for _ in range(8)]
        for one in many:
            _answer_of(one)
        own = cpu_seconds([psutil.Process(one.pid) for one in many])
        for one in many:
            _go_on(one)
            _answer_of(one)
        spent = cpu_seconds([psutil.Process(one.pid) for one in many]) - own
        assert 0.032 <= spent < 0.08, "hundredths of a second, cut off, would be none or twice as much"
        for one in many:
            _go_on(one)


@contextmanager
def _talking(code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        yield child


def _go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def _answer_of(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "\n"


def test_memory_is_that_of_the_whole_tree() -> None:
    me = psutil.Process()
    hold = "import sys; held = bytes(range(256)) * 200_000; print('there', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        until = time.monotonic() + 10
        while megabytes([me]) < 51 and time.monotonic() < until:
            time.sleep(0.05)
        assert megabytes([me]) - megabytes([psutil.Process(child.pid)]) > 5
        assert megabytes([psutil.Process(child.pid)]) > 51
        child.communicate()
