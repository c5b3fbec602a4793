"""A stack without workers, in a process of its own: says what it runs, and waits to be told to stop, or to die."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from pipeline.local.stack import LocalStack, Parts

PARTS = Parts(workers=0, upkeep=False, beat=False, flower=False, exporter=False)


def main(data: Path) -> None:
    with LocalStack(data, PARTS, announced=False) as stack:
        sockets = [str(server.sockets) for server in stack.servers]
        json.dump({"pids": [program.pid for program in stack.programs], "sockets": sockets}, sys.stdout)
        sys.stdout.write("\n")
        sys.stdout.flush()
        if sys.stdin.readline().strip() == "die":
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
