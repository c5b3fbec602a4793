"""A broker of another age: it answers what the doctor asks, with an old version and a clock that is ahead."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Answers(socketserver.StreamRequestHandler):
    """The few commands, in the broker's protocol."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            self.wfile.write(answer(words[0].upper()))

    def _word(self) -> bytes:
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:size]


def answer(command: bytes) -> bytes:
    if command == b"INFO":
        return bulk(b"redis_version:6.2.14\r\n")
    if command == b"TIME":
        return b"*2\r\n" + bulk(str(int(time.time()) + 3600).encode()) + bulk(b"0")
    return b"+OK\r\n"


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


@contextmanager
def old_broker() -> Iterator[str]:
    """Its URL."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="old-broker", daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)
