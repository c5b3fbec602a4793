"""Push requests through a pipeline and report what it took: `python stress/producer.py --help`.

The same as `python -m stress` and `pipeline stress`.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    # started by its path: the package that it belongs to is beside its folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import PipelineError
from stress.attaching import is_attached
from stress.conclude import conclude
from stress.interrupting import INTERRUPTED, ending_on_signals, stopping_on_signals
from stress.load.senders import SenderLost
from stress.options import parse
from stress.plan import Plan
from stress.report.figures import Report
from stress.report.handover import FAILED, hand_over
from stress.run import enough_processes, execute
from stress.screen import Screen, screen_for
from stress.target import Target, attached, embedded


def main(given: list[str] | None = None, prog: str = "stress/producer.py") -> int:
    """Run as asked. Returns the exit code."""
    arguments = sys.argv[1:] if given is None else given
    if arguments[:1] == ["compare"]:
        from stress.report.compare import main as compare

        return compare(arguments[1:], f"{prog} compare")
    if arguments[:1] == ["chaos"]:
        from stress.chaos.__main__ import main as chaos

        return chaos(arguments[1:], f"{prog} chaos")
    plan, options = parse(arguments, prog)
    output, report = (path and path.absolute() for path in (options.output, options.report))
    try:
        with ending_on_signals():
            made = run(plan, options)
    except (PipelineError, SenderLost) as fault:
        print(f"{prog}: {fault}", *getattr(fault, "__notes__", ()), sep="\n", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return hand_over(made, output=output, report=report)


def run(plan: Plan, options: argparse.Namespace) -> Report:
    """Run the plan where the options say, with a screen. Raises PipelineError where there is nothing to run it on."""
    plan = enough_processes(plan, os.cpu_count() or 1)
    with screen_for(plan, quiet=options.quiet) as screen, _target(plan, options, screen) as target:
        with stopping_on_signals(screen.say) as stopping:
            measured = execute(plan, target, screen.show, stopping)
        screen.say("Reading the ledger, checking the invariants")
        return conclude(measured)


@contextmanager
def _target(plan: Plan, options: argparse.Namespace, screen: Screen) -> Iterator[Target]:
    if not is_attached(options):
        with embedded(plan, screen.say) as target:
            yield target
        return
    urls = {name: getattr(options, name) for name in ("database_url", "broker_url", "simulator_url", "metrics_url")}
    with attached(plan, **urls) as target:
        yield target


if __name__ == "__main__":
    sys.exit(main())
