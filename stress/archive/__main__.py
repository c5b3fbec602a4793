"""Archive many messages, beside a fair baseline: `python -m stress.archive`; `--help` says what can be changed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.resources import PACKAGE
from stress import embedded
from stress.archive import context
from stress.archive.content import MESSAGES, fill
from stress.interrupting import until_signalled

#: What must hold: times as fast as the baseline, megabytes by which the largest run may need more than the smallest,
#: share of the smallest run's throughput, and times the shortest session's latency.
FASTER, FLATTER, STEADY, SLOWER = 3.0, 64.0, 0.8, 1.5


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run took: seconds, and megabytes before and at most."""

    messages: int
    seconds: float
    before: float
    peak: float

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress.archive", description=__doc__)
    sizes, lengths = [10_000, 100_000, 1_000_000], [100, 10_000, 100_000]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="messages, smallest first")
    parser.add_argument("--baseline", type=int, default=100_000, help="messages for both sides of the comparison")
    parser.add_argument("--lengths", type=int, nargs="+", default=lengths, help="messages of a session")
    parser.add_argument("--queries", type=int, default=5_000, help="queries for the context of each length")
    parser.add_argument("--no-bars", action="store_true", help="exit with 0 whatever was measured")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    options = arguments(given)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {MESSAGES} messages a session", flush=True)
    with embedded.postgres() as url:
        growing = [_run("ours", url, size) for size in options.sizes]
        ours, plain = _run("ours", url, options.baseline), _run("baseline", url, options.baseline)
        taken = context.measure(url, options.lengths, options.queries)
    bars = [*_throughput(growing, ours, plain), *_context(taken)]
    print("\n".join(f"{'held' if held else 'MISSED'}: {what}" for held, what in bars))
    return 0 if options.no_bars or all(held for held, _ in bars) else 1


def _run(side: str, url: str, size: int) -> Figures:
    ids = fill(url, max(1, size // MESSAGES))
    with tempfile.TemporaryDirectory(prefix="archives-") as folder:
        command = [sys.executable, "-m", "stress.archive.work", side, url, folder, str(ids[0]), str(ids[-1])]
        variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found = Figures(**json.loads(done.stdout))
    print(
        f"{side:>8}: {found.messages:>9,} messages in {found.seconds:6.1f} s = {found.per_second:>7,.0f} a second, "
        f"peak {found.peak:.0f} MB",
        flush=True,
    )
    return found


def _throughput(growing: list[Figures], ours: Figures, plain: Figures) -> Iterator[tuple[bool, str]]:
    small, large = growing[0], growing[-1]
    times = ours.per_second / plain.per_second
    yield times >= FASTER, f"{times:.1f} times as fast as the baseline (at least {FASTER:g})"
    more = large.peak - small.peak
    yield more <= FLATTER, f"memory grows by {more:.0f} MB from the smallest to the largest run (at most {FLATTER:g})"
    share = large.per_second / small.per_second
    yield share >= STEADY, f"the largest run has {share:.0%} of the smallest one's throughput (at least {STEADY:.0%})"


def _context(taken: dict[int, list[float]]) -> Iterator[tuple[bool, str]]:
    for length, milliseconds in taken.items():
        p50, p99 = (context.percentile(milliseconds, share) for share in (0.5, 0.99))
        print(f" context of {length:>7,} messages: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    shortest, longest = min(taken), max(taken)
    for share in (0.5, 0.99):
        times = context.percentile(taken[longest], share) / context.percentile(taken[shortest], share)
        yield (
            times <= SLOWER,
            f"p{share * 100:.0f} of the longest is {times:.2f} times the shortest's (at most {SLOWER:g})",
        )


if __name__ == "__main__":
    sys.exit(until_signalled(main))
