"""The process that sends: `python -m stress.overhead.producer SIDE RUN USERS REQUESTS together|apart`.

It warms up, says `ready`, waits for a line, sends the load, and prints the timing as one line of JSON. A process of
its own, so that its cost can be told apart.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import asdict

from stress.overhead.load import Caller, ClosedLoop

#: Requests of each user before the clock starts: connections are open then, and statements planned.
WARM_UP = 3


def connect(side: str) -> Caller:
    """The caller of a side. Imported late: neither side's process should hold the other's modules."""
    if side == "bare":
        from stress.overhead.bare.caller import BareCaller

        return BareCaller()
    from stress.overhead.pipeline_caller import PipelineCaller

    return PipelineCaller()


def main(side: str, run: str, users: str, requests: str, begin: str) -> None:
    """Warm up with a few requests a user, which also makes the sessions; then the measured round."""
    caller = connect(side)
    try:
        loop = ClosedLoop(caller, run, int(users))
        loop.round(WARM_UP)
        # A full collection of the producer's own heap stops it for 50 ms, which is no side's time.
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(loop.round(int(requests), apart=begin == "apart"))), flush=True)
        sys.stdin.readline()  # stay alive until the CPU seconds have been read
    finally:
        caller.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
