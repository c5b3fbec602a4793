"""`python -m stress.chaos`: load, faults, and what became of the requests that they touched."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

from pipeline.errors import PipelineError
from stress.chaos.options import parse
from stress.chaos.run import run
from stress.interrupting import INTERRUPTED, ending_on_signals
from stress.load.senders import SenderLost
from stress.report.handover import FAILED, hand_over


def main(given: list[str] | None = None, prog: str = "python -m stress.chaos") -> int:
    """Run as asked. Returns the exit code."""
    asked = parse(given, prog)
    if asked is None:
        return 0
    # the pool's complaints while Postgres is away, which is what this is about
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    output, report, logs = (path and path.absolute() for path in (asked.output, asked.report, asked.logs))
    try:
        with ending_on_signals():  # what was mounted is to be let go
            made = run(replace(asked, logs=logs))
    except (PipelineError, SenderLost) as fault:
        print(f"{prog}: {fault}", *getattr(fault, "__notes__", ()), sep="\n", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return hand_over(made, output=output, report=report)


if __name__ == "__main__":
    sys.exit(main())
