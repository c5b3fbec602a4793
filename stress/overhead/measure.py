"""One measured round of one side, and what it came to."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from stress.overhead.fleet import ROOT, environment
from stress.overhead.load import WORK_SECONDS, Load, Timing
from stress.overhead.sides import Setup, Side
from stress.usage import cpu_seconds, megabytes

#: Whose CPU seconds are told apart.
PARTS = ("workers", "postgres", "broker", "producer")

#: Seconds of quiet before and after a round, in which what it left behind is done and counted.
QUIET = 0.3


@dataclass(frozen=True, slots=True)
class Round:
    """What one load cost one side. Latencies are in milliseconds, CPU in milliseconds a request."""

    side: str
    users: int
    requests: int
    apart: bool
    per_second: float
    p50: float
    p95: float
    p99: float
    own_p50: float
    own_p99: float
    cpu: dict[str, float]
    megabytes: float

    @property
    def load(self) -> Load:
        return Load(self.users, self.requests, self.apart)

    @property
    def cpu_total(self) -> float:
        return sum(self.cpu.values())


def measure(side: Side, setup: Setup, load: Load, workers: list[psutil.Process]) -> Round:
    """Have a producer warm up and send the load, and read everyone's CPU seconds around it."""
    begin = "apart" if load.apart else "together"
    arguments = (side.name, f"{side.name}-{uuid.uuid4().hex[:8]}", str(load.users), str(load.requests), begin)
    with _producing(side, setup, *arguments) as producer:
        processes = {
            "workers": workers,
            "postgres": [setup.servers.postgres],
            "broker": [setup.servers.broker],
            "producer": [psutil.Process(producer.pid)],
        }
        _expect(producer, "ready")
        before = _spent(processes)
        timing = Timing(**json.loads(_tell(producer)))
        time.sleep(QUIET)
        spent = {part: seconds - before[part] for part, seconds in _spent(processes).items()}
        memory = megabytes(workers)
        producer.communicate("\n", timeout=30)
    return summarise(side, load, timing, spent, memory)


@contextmanager
def _producing(side: Side, setup: Setup, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A producer, which does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "stress.overhead.producer", *arguments],
        cwd=ROOT,
        env=environment(side, setup),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as producer:
        try:
            yield producer
        finally:
            producer.kill()


def _spent(processes: dict[str, list[psutil.Process]]) -> dict[str, float]:
    time.sleep(QUIET)
    return {part: cpu_seconds(roots) for part, roots in processes.items()}


def _expect(producer: subprocess.Popen[str], word: str) -> None:
    assert producer.stdout is not None
    if (line := producer.stdout.readline().strip()) != word:
        raise RuntimeError(f"the producer said {line!r}, not {word!r}")


def _tell(producer: subprocess.Popen[str]) -> str:
    """Let it go, and hear what it measured."""
    assert producer.stdin is not None
    assert producer.stdout is not None
    producer.stdin.write("\n")
    producer.stdin.flush()
    line = producer.stdout.readline()
    if not line:
        raise RuntimeError("the producer ended without a figure; what it said stands above")
    return line


def summarise(side: Side, load: Load, timing: Timing, spent: dict[str, float], memory: float) -> Round:
    hundredths = statistics.quantiles(timing.latencies, n=100, method="inclusive")
    p50, p95, p99 = (hundredths[at - 1] * 1e3 for at in (50, 95, 99))
    return Round(
        side=side.name,
        users=load.users,
        requests=load.requests,
        apart=load.apart,
        per_second=load.total / timing.elapsed,
        p50=p50,
        p95=p95,
        p99=p99,
        own_p50=p50 - WORK_SECONDS * 1e3,
        own_p99=p99 - WORK_SECONDS * 1e3,
        cpu={part: seconds / load.total * 1e3 for part, seconds in spent.items()},
        megabytes=memory,
    )
