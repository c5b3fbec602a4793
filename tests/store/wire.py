"""A slow wire to Postgres, which counts round trips: how often a client sent something after it had heard something."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, urlsplit

#: Seconds that an answer travels: whoever does not wait for it has sent all by then.
DELAY = 0.05


class Wire:
    """Stands before the server of a `postgresql://user@/name?host=folder` URL; `url` is its own."""

    def __init__(self, url: str) -> None:
        folder = parse_qs(urlsplit(url).query)["host"][0]
        self._server = f"{folder}/.s.PGSQL.5432"
        self._folder = tempfile.TemporaryDirectory(prefix="wire-", dir="/tmp")
        self.url = url.replace(quote(folder, safe=""), quote(self._folder.name, safe=""))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(Path(self._folder.name) / ".s.PGSQL.5432"))
        self._listener.listen()
        self._lock = threading.Lock()
        self._trips = 0
        self._open: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)
        self._folder.cleanup()

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """A list that holds, after the block, the round trips within it."""
        with self._lock:
            before = self._trips
        found: list[int] = []
        yield found
        with self._lock:
            found.append(self._trips - before)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._open += [client, server]
                heard = threading.Event()
                heard.set()
                for pump, given in ((self._ask, (client, server, heard)), (self._answer, (server, client, heard))):
                    self._threads.append(threading.Thread(target=pump, args=given))
                    self._threads[-1].start()

    def _ask(self, client: socket.socket, server: socket.socket, heard: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if heard.is_set():
                    heard.clear()
                    with self._lock:
                        self._trips += 1
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, heard: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                time.sleep(DELAY)
                heard.set()
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
