"""`python -m stress.chaos`: load, faults, and what became of the requests that they touched."""

from __future__ import annotations

import logging
import signal
import sys
from dataclasses import replace
from types import FrameType

from pipeline.errors import PipelineError
from stress.chaos.options import parse
from stress.chaos.run import run
from stress.report.handover import FAILED, INTERRUPTED, hand_over


def main(given: list[str] | None = None, prog: str = "python -m stress.chaos") -> int:
    """Run as asked. Returns the exit code."""
    asked = parse(given, prog)
    if asked is None:
        return 0
    signal.signal(signal.SIGTERM, _interrupt)  # what was mounted is to be let go
    # the pool's complaints while Postgres is away, which is what this is about
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    output, report, logs = (path and path.absolute() for path in (asked.output, asked.report, asked.logs))
    try:
        made = run(replace(asked, logs=logs))
    except PipelineError as fault:
        print(f"{prog}: {fault}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return hand_over(made, output=output, report=report)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
