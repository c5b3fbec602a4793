"""The provider simulator for other containers: `pipeline simulate` listens on loopback, where they cannot reach it."""

from __future__ import annotations

import socket
import sys

from pipeline.providers.simulator.behaviour import Behaviour, Lognormal, Script
from pipeline.providers.simulator.chat import Chat
from pipeline.providers.simulator.counts import Counts
from pipeline.providers.simulator.server import server


def main() -> None:
    """Serve on the port that is given, on every interface of the container, until SIGTERM."""
    counts = Counts()
    # asyncio switches Nagle's algorithm off only where the protocol is named
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("", int(sys.argv[1])))
        server(Chat(Script(Behaviour(latency=Lognormal(median=0.25, p99=1))), counts), counts).run([sock])


if __name__ == "__main__":
    main()
