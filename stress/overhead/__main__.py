"""`python -m stress.overhead`: the pipeline and bare Celery in turns, on the same servers.

Exit codes: 0 when every bar that was measured holds (or with --no-bars), 1 when one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from stress.interrupting import until_signalled
from stress.overhead import report
from stress.overhead.fleet import fleet
from stress.overhead.load import Load
from stress.overhead.measure import PARTS, Round, measure
from stress.overhead.servers import Servers, servers
from stress.overhead.sides import BARE, PIPELINE, Setup, Side

#: A few users, each for themselves and as a burst; and those of whom the rate is asked.
USUAL = (Load(10, 20, apart=True), Load(10, 20), Load(100, 10), Load(500, 4))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress.overhead", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each side (5)")
    parser.add_argument("--users", type=int, nargs="+", help="users of each load, in place of the usual loads")
    parser.add_argument("--requests", type=int, nargs="+", help="requests a user, likewise")
    parser.add_argument("--apart", action="store_true", help="those users begin one after the other")
    parser.add_argument("--processes", type=int, default=2, help="worker processes of each side (2)")
    parser.add_argument("--slots", type=int, default=250, help="slots of each process (250)")
    parser.add_argument("--quick", action="store_true", help="one pair of one small load: does it run at all?")
    parser.add_argument("--only", choices=["bare", "pipeline"], help="one side alone, for tuning: no ratios, no bars")
    parser.add_argument("--no-bars", action="store_true", help="exit 0 whatever was measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round to this file")
    parser.add_argument("--database-url", help="a durable Postgres on this machine, in place of an embedded one")
    parser.add_argument("--broker-url", help="a durable Redis or Valkey on this machine, likewise")
    options = parser.parse_args(given)
    if options.quick:
        options.pairs, options.users, options.requests, options.no_bars = 1, [5], [3], True
    if len(options.users or ()) != len(options.requests or ()):
        parser.error("--users and --requests want as many figures each")
    if options.apart and not options.users:
        parser.error("--apart says how the users of --users begin")
    return options


def loads_of(options: argparse.Namespace) -> list[Load]:
    """What is asked for, or the usual."""
    if not options.users:
        return list(USUAL)
    pairs = zip(options.users, options.requests, strict=True)
    return [Load(users, requests, options.apart) for users, requests in pairs]


def turn(side: Side, setup: Setup, loads: list[Load]) -> list[Round]:
    """All loads through one side's workers, which are started for this and stopped after it."""
    with fleet(side, setup) as workers:
        return [_tell(measure(side, setup, load, workers)) for load in loads]


def _tell(done: Round) -> Round:
    split = " + ".join(f"{done.cpu[part]:.2f}" for part in PARTS)
    print(f"{done.side:9}{done.load!s:21}{done.per_second:5.0f}/s, CPU {split} = {done.cpu_total:.2f} ms", flush=True)
    return done


def compare(setup: Setup, loads: list[Load], pairs: int) -> dict[Load, list[report.Pair]]:
    """The sides in turns; whoever goes first in one pair goes second in the next."""
    results: dict[Load, list[report.Pair]] = {load: [] for load in loads}
    for number in range(pairs):
        order = (PIPELINE, BARE) if number % 2 == 0 else (BARE, PIPELINE)
        rounds = {side.name: turn(side, setup, loads) for side in order}
        for load, ours, bare in zip(loads, rounds[PIPELINE.name], rounds[BARE.name], strict=True):
            results[load].append((ours, bare))
    return results


def facts(options: argparse.Namespace, found: Servers) -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    return {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}",
        "processes": options.processes,
        "slots": options.slots,
        **found.durability,
    }


def main(given: list[str] | None = None) -> int:
    options = arguments(given)
    loads = loads_of(options)
    with servers(options.database_url, options.broker_url) as found:
        known = facts(options, found)
        print("\n".join(f"{name}: {value}" for name, value in known.items()), flush=True)
        setup = Setup(found, options.processes, options.slots)
        if options.only:
            for _ in range(options.pairs):
                turn(PIPELINE if options.only == PIPELINE.name else BARE, setup, loads)
            return 0
        results = compare(setup, loads, options.pairs)
    print(f"\n{report.table(results)}\n")
    kept = report.bars(results)
    print("\n".join(map(str, kept)))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results, known), indent=1))
    return 0 if options.no_bars or all(bar.passed for bar in kept) else 1


if __name__ == "__main__":
    sys.exit(until_signalled(main))
