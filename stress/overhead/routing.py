"""`python -m stress.overhead.routing`: what breaker, router and limits take of a request's time.

Calls go through the router to a provider that only waits; all else is the router's. The broker is a durable Valkey.
What a bare PING takes stands beside it: on a busy machine most of either is waiting for a processor.
Exit codes: 0 when every bar holds (or with --no-bars), 1 when one does not.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import redis

from pipeline import broker
from pipeline.providers.budget import Budgets
from pipeline.providers.contract import CallControl, CallRequest, Completion
from pipeline.providers.gate.gate import Gate
from pipeline.providers.router import Router
from pipeline.schemas import Call, Message, Reply, Usage
from pipeline.settings import ProviderSettings, Settings
from pipeline.worker.step import SWITCH_INTERVAL
from stress import embedded
from stress.interrupting import until_signalled
from stress.overhead.load import WORK_SECONDS
from stress.overhead.report import Bar

#: At most: milliseconds inside, and round trips to the broker a call.
INSIDE_P99, ROUND_TRIPS = 1.0, 1.0

#: Every limit is in force, and none is met.
LIMITS = {"max_concurrency": 10_000, "requests_per_minute": 10_000_000, "tokens_per_minute": 1_000_000_000}

MESSAGES = [Message("user", "What did I cite? " * 20) for _ in range(20)]


class Waiting:
    """A provider that answers after a while, and knows how long each thread was in it."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.name, self.model = settings.name, settings.model
        self.spent = threading.local()

    def call(
        self,
        request: CallRequest,
        *,
        on_text: Callable[[str], None],
        on_call: Callable[[Call], None],
        control: CallControl,
    ) -> Completion:
        began = time.perf_counter()
        started_at = datetime.now(UTC)
        time.sleep(WORK_SECONDS * random.uniform(0.5, 1.5))
        on_text("answer")
        usage = Usage(100, 20)
        on_call(Call(self.name, self.model, started_at, started_at, datetime.now(UTC), 200, None, usage))
        self.spent.seconds = time.perf_counter() - began
        del request, control
        return Completion(Reply("answer", self.name, self.model, usage))

    def close(self) -> None: ...


class Unhurried:
    """A control that never interrupts."""

    seconds_left = 60.0

    def check(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        hundredths = statistics.quantiles(seconds, n=100, method="inclusive")
        return cls(hundredths[49] * 1e3, hundredths[98] * 1e3)

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a call spends outside its provider, how much of that its thread is at work, and what a PING takes; and round
    trips to the broker a call."""

    threads: int
    calls: int
    inside: Spread
    working: Spread
    ping: Spread
    round_trips: float

    def __str__(self) -> str:
        head = f"{self.threads} x {self.calls // self.threads} calls, {self.round_trips:.2f} round trips each"
        return f"{head}\n  inside  {self.inside}\n  working {self.working}\n  PING    {self.ping}"

    @property
    def bars(self) -> list[Bar]:
        p99, trips = self.inside.p99, self.round_trips
        return [
            Bar(f"inside p99 {p99:.2f} ms, at most {INSIDE_P99:.0f} ms", p99 <= INSIDE_P99),
            Bar(f"round trips a call {trips:.2f}, at most {ROUND_TRIPS:.0f}", trips <= ROUND_TRIPS),
        ]


def measure(router: Router, waiting: Waiting, client: redis.Redis, threads: int, calls: int) -> Figures:
    """So many threads make so many calls each, one after the other."""

    def call_all(_: int) -> list[tuple[float, float, float]]:
        return [(*_inside(router, waiting), _ping(client)) for _ in range(calls)]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: _inside(router, waiting), range(threads)))  # connections, and the script
        client.config_resetstat()
        found = [one for each in pool.map(call_all, range(threads)) for one in each]
    trips = int(client.info("commandstats")["cmdstat_evalsha"]["calls"])
    inside, working, pings = (Spread.of(column) for column in zip(*found, strict=True))
    return Figures(threads, len(found), inside, working, pings, trips / len(found))


def _inside(router: Router, waiting: Waiting) -> tuple[float, float]:
    began, worked = time.perf_counter(), time.thread_time()
    router.call(CallRequest(MESSAGES), on_text=_ignore, on_call=_ignore, control=Unhurried())
    return time.perf_counter() - began - float(waiting.spent.seconds), time.thread_time() - worked


def _ping(client: redis.Redis) -> float:
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began


def _ignore(_: object) -> None: ...


@contextmanager
def routed(url: str) -> Iterator[tuple[Router, Waiting]]:
    """A router over two providers, the first of which serves."""
    facts = [{"name": name, "base_url": "http://127.0.0.1:1/v1", "model": "m", **LIMITS} for name in ("one", "two")]
    settings = Settings.model_validate({"providers": facts})
    first, second = (Waiting(one) for one in settings.providers)
    gate = Gate(settings.providers, settings, broker.connect(url, 1))
    router = Router([first, second], settings, gate, Budgets(settings.providers, dict))
    try:
        yield router, first
    finally:
        router.close()


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stress.overhead.routing", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 10, 50], help="callers at once (1 10 50)")
    parser.add_argument("--calls", type=int, default=200, help="calls of each (200)")
    parser.add_argument("--no-bars", action="store_true", help="exit 0 whatever was measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    options = parser.parse_args(given)
    sys.setswitchinterval(SWITCH_INTERVAL)  # as in a worker
    with embedded.valkey() as url, routed(url) as (router, waiting), broker.connect(url, 1) as client:
        found = [measure(router, waiting, client, threads, options.calls) for threads in options.threads]
    print("\n".join(map(str, found)))
    bars = [bar for one in found for bar in one.bars]
    print("\n".join(map(str, bars)))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    return 0 if options.no_bars or all(bar.passed for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(until_signalled(main))
