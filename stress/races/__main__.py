"""`python -m stress.races`: every verb of the ledger from many threads at once, over a few users.

Real Postgres, Valkey and cold storage. The ledger's functions pause between their
statements, so that whatever can come in between two of them does. Afterwards all
must have ended once, no invariant may be broken, and nothing may have been raised.
Exit codes: 0 when all held, 1 when something did not.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import structlog

from stress import embedded
from stress.interrupting import until_signalled
from stress.races.pauses import put_in
from stress.races.race import Verdict, race
from stress.races.world import world


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stress.races", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for which they race (60)")
    parser.add_argument("--threads", type=int, default=12, help="at once (12)")
    parser.add_argument("--users", type=int, default=3, help="with three conversations each (3)")
    parser.add_argument("--pause", type=float, default=10, help="milliseconds between two statements at most (10)")
    parser.add_argument("--seed", type=int, default=1, help="what each thread does in which order (1)")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    options = arguments(given)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with embedded.postgres() as database, embedded.valkey() as broker, tempfile.TemporaryDirectory() as folder:
        slowed = put_in(database, options.pause / 1000)
        print(f"{options.threads} threads, {options.users} users, {options.seconds:.0f} s, seed {options.seed}")
        print(f"paused: {', '.join(slowed)}", flush=True)
        with world(database, broker, Path(folder), threads=options.threads, users=options.users) as shared:
            verdict = race(shared, threads=options.threads, seconds=options.seconds, seed=options.seed)
    print("\n".join(_told(verdict)))
    return 0 if verdict.held else 1


def _told(verdict: Verdict) -> list[str]:
    verbs = [f"{count:>8,} {name}" for name, count in verdict.verbs.most_common()]
    helped = ", ".join(f"{why} {count}" for why, count in verdict.helped.most_common()) or "nobody"
    faults = [f"RAISED {count} times: {what}" for what, count in verdict.raised.most_common()]
    broken = [f"BROKEN {what}" for what in verdict.broken]
    last = "all held" if verdict.held else "something did not hold"
    counts = f"{verdict.accepted:,} requests accepted, {verdict.archived:,} messages archived"
    return [*verbs, counts, f"recovery helped: {helped}", *faults, *broken, last]


if __name__ == "__main__":
    sys.exit(until_signalled(main))
