"""`python -m stress.observing_cost`: what counting, logging and tracing a request cost, in CPU time of the process.

Each is measured in turns with the same without it: the telling of a request's life by the calls that client, worker
and Celery make for it, again and again. Logs and traces are told beside the counting, so that a ratio says how much
more than counting alone both are. Lines are written to a file, spans sent to a sink on loopback, sending included.
Exit code 1 when counting costs more than its bar (and not with --no-bars).
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TextIO

from prometheus_client import generate_latest

from pipeline import metrics, signals, tracing
from pipeline.worker import measuring
from stress.interrupting import until_signalled
from stress.observing_cost import life, ways
from stress.observing_cost.sink import sink, taken

#: Microseconds of CPU per request that counting may cost.
BAR = 50.0

#: Requests told between two waits for their spans to be sent: more would be more than the queue of spans holds.
FLUSH = 200
#: Spans of a traced request.
SPANS = 5

Tell = Callable[[str], None]


@dataclass(slots=True)
class Part:
    """One thing that is measured. `flush` ends what `tell` has begun, and is a part of its cost."""

    name: str
    tell: Tell
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    base: Tell = life.counted
    flush: Callable[[], object] = lambda: None
    #: Microseconds per request, and the ratio to the same without, each turn.
    costs: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def turn(self, users: list[str], rounds: int, *, first: bool) -> None:
        """Measure with and without it; without it `first`, or last."""
        with self.within():
            bare = cost([self.base], users, rounds) if first else 0.0
            whole = cost([self.base, self.tell], users, rounds, self.flush)
            bare = bare or cost([self.base], users, rounds)
        self.costs.append(whole - bare)
        self.ratios.append(whole / bare)

    def __str__(self) -> str:
        spread = f"{min(self.costs):.1f} to {max(self.costs):.1f}"
        ratio = "" if self.base is nothing else f"   {statistics.median(self.ratios):5.2f} times counting alone"
        return f"{self.name:<30}{statistics.median(self.costs):7.1f} µs  ({spread}){ratio}"


def nothing(_: str) -> None:
    """What counting is compared with: the loop itself."""


def cost(tell: list[Tell], users: list[str], rounds: int, flush: Callable[[], object] = lambda: None) -> float:
    """Microseconds of CPU, of all threads, for each request."""
    began = time.process_time()
    for n in range(rounds):
        for one in tell:
            one(users[n % len(users)])
        if n % FLUSH == 0:
            flush()
    flush()
    return (time.process_time() - began) / rounds * 1e6


def parts(file: TextIO) -> Iterator[Part]:
    """All that needs nobody else."""
    json, console, quiet = (partial(way, file) for way in (ways.json, ways.console, ways.quiet))
    yield Part("counting", life.counted, base=nothing)
    yield Part("logs as JSON", life.logged, json)
    yield Part("logs on the console", life.logged, console)
    yield Part("logs below the level", life.logged, quiet)
    yield Part("Celery's own lines as JSON", life.logged_by_celery, json)
    off = tracing.Off()
    yield Part("traces off", lambda _: life.traced(off))


def traces() -> Part:
    """Spans that are sent as the environment says."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    on = tracing.from_settings(ways.SETTINGS.model_copy(update={"tracing": True}))
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    return Part("traces on", lambda _: life.traced(on), flush=provider.force_flush)


def measure(every: list[Part], rounds: int, repeat: int) -> None:
    """Each part once a turn, with and without it in alternating order."""
    users = [f"user {n}" for n in range(1000)]
    measuring.connect()
    signals.label_users_by(lambda _: (users[:100], False))
    cost([life.counted], users, len(users))
    for turn in range(repeat):
        for part in every:
            part.turn(users, rounds, first=turn % 2 == 0)


def main(given: list[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m stress.observing_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5_000, help="requests a measurement (5000)")
    parser.add_argument("--repeat", type=int, default=5, help="measurements (5); the median counts")
    parser.add_argument("--no-bars", action="store_true", help="exit 0 whatever was measured")
    options = parser.parse_args(given)
    with ExitStack() as stack:
        every = list(parts(stack.enter_context(tempfile.TemporaryFile("w"))))
        if importlib.util.find_spec("opentelemetry") is None:
            print("traces are left out: the extra `otel` is not installed")
        else:
            url = stack.enter_context(sink())
            every.append(traces())
        measure(every, options.rounds, options.repeat)
        if every[-1].name == "traces on":
            assert taken(url) == SPANS * options.rounds * options.repeat, "all spans have arrived"
    print(f"CPU time per request, median of {options.repeat} turns of {options.rounds} requests:")
    print(*every, sep="\n")
    began = time.process_time()
    size = len(generate_latest(metrics.CATALOGUE))
    print(f"a scrape takes {(time.process_time() - began) * 1000:.1f} ms, {size / 1024:.0f} KiB, of 100 users' labels")
    counting = statistics.median(every[0].costs)
    print(f"counting: {counting:.1f} µs, the bar is {BAR:g} µs")
    return 0 if options.no_bars or counting <= BAR else 1


if __name__ == "__main__":
    sys.exit(until_signalled(main))
