"""The command line of the chaos run."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from pipeline.client.submission import ON_BUSY
from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos.fault import FAULTS, Fault
from stress.chaos.schedule import chosen
from stress.options import refuse_small, refuse_unwritable, setting
from stress.plan import Open, Plan, Profile, Stage

DESCRIPTION = """\
Put load on a pipeline of its own, and have faults strike it, one after the
other: workers, broker and Postgres are killed, frozen and cut off, messages
come twice, the provider fails, disks are full. In the end, the ledger tells
what became of every request that a fault touched.

Example: python -m stress.chaos --faults all --seed 1 --minutes 20
Example: python -m stress.chaos --faults broker,worker_killed_full --report chaos.html
Example: python -m stress.chaos --list
"""

EPILOGUE = "Exit codes: 0 all held, 1 something did not, 2 wrong arguments, 130 after a second Ctrl-C."

#: Settings of the pipeline under chaos that are not the defaults; leases are. Calls that hang are given up sooner, a
#: breaker takes a third of its usual times, and sessions are long enough to be archived within minutes.
SETTINGS = {
    "PROVIDER_FIRST_TOKEN_TIMEOUT": "12",
    "BREAKER_OPEN_SECONDS": "10",
    "BREAKER_RAMP_SECONDS": "3.3",
    "MAX_MESSAGES_IN_MEMORY": "20",
    "ARCHIVE_THRESHOLD": "20",
    "SWEEP_INTERVAL": "5",
}

#: The least that an option's number may be.
LEAST = {"minutes": 0, **dict.fromkeys(("rate", "users", "slots", "workers"), 1)}


@dataclass(frozen=True, slots=True)
class Chaos:
    """What was asked for. `seconds` is how long it is to last at least."""

    plan: Plan
    faults: list[Fault]
    seconds: float
    seed: int
    output: Path | None
    report: Path | None
    logs: Path | None
    quiet: bool


def parse(given: list[str] | None, prog: str) -> Chaos | None:
    """What to do; None where the faults were to be listed, which is done. Exits with 2 where it makes no sense."""
    parser = _parser(prog)
    options = parser.parse_args(given)
    if options.list:
        print("\n".join(f"{fault.name:<22}{fault.what}" for fault in FAULTS.values()))
        return None
    try:
        faults = chosen(options.faults)
        changed = dict(map(setting, options.set))
        refuse_small(options, LEAST)
    except ValueError as wrong:
        parser.error(str(wrong))
    refuse_unwritable(parser, options)
    seconds = options.minutes * 60
    plan = Plan(
        f"chaos, seed {options.seed}",
        # how long it really lasts is known in the end
        Open(
            (Stage(max(seconds, 1.0) + 3600, options.rate, options.rate),), users=options.users, on_busy=options.on_busy
        ),
        Profile(median=0.4, p99=1.2, faults=0, seed=options.seed),
        workers=options.workers,
        look_every=0.5,
        settings={**SETTINGS, "WORKER_SLOTS": str(options.slots), **changed},
    )
    return Chaos(plan, faults, seconds, options.seed, options.output, options.report, options.logs, quiet=options.quiet)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog, description=DESCRIPTION, epilog=EPILOGUE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", default="all", metavar="NAMES", help="names and families, or all (all)")
    parser.add_argument("--seed", type=int, default=1, help="of the order, the pauses, the victims (1)")
    parser.add_argument("--minutes", type=float, default=20, help="to last at least; each fault strikes once (20)")
    parser.add_argument("--list", action="store_true", help="say which faults there are")
    parser.add_argument("--rate", type=float, default=20, help="requests a second (20)")
    parser.add_argument("--users", type=int, default=200, help="whose they are, in turn (200)")
    parser.add_argument("--on-busy", choices=ON_BUSY, default="queue", help="as in a stress run (queue)")
    parser.add_argument("--workers", type=int, default=2, help="that answer them (2)")
    parser.add_argument("--slots", type=int, default=48, help="of each worker (48)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the pipeline")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write every figure to this JSON file")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page with charts to this HTML file")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="copy the logs of all programs there in the end")
    parser.add_argument("--quiet", action="store_true", help="no live screen; the text at the end alone")
    return parser
