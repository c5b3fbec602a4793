"""The simulator as a server: in a thread, or as a process of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.errors import ConfigurationError
from pipeline.providers.simulator.app import application
from pipeline.providers.simulator.behaviour import Behaviour, Fault, Script
from pipeline.providers.simulator.chat import Chat
from pipeline.providers.simulator.counts import Counts, Snapshot

HOST = "127.0.0.1"

#: Seconds that an idle connection is kept.
KEEPALIVE = 75

#: Seconds that a stopping server gives to what it serves.
GRACE = 1

#: Seconds to wait for a server in a thread to start, or to stop.
PATIENCE = 10.0


class Protocol(HttpToolsProtocol):
    """Hands the connection to the application, for faults are done to connections."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


class Simulator:
    """A simulator in a thread, on a loopback port: a free one, unless one is named.

    With a certificate and its key (PEM files) it speaks TLS.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        port: int = 0,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._counts = Counts()
        self._chat = Chat(Script(behaviour or Behaviour()), self._counts)
        self._socket = listen(port)
        self._scheme = "https" if certificate else "http"
        self._server = server(self._chat, self._counts, ssl_certfile=certificate, ssl_keyfile=key)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="simulator", daemon=True)
        self.port: int = self._socket.getsockname()[1]

    @property
    def origin(self) -> str:
        return f"{self._scheme}://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"{self.origin}/v1"

    @property
    def counts(self) -> Snapshot:
        """What was served so far."""
        return self._counts.snapshot()

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._server.server_state.connections)

    def script(self, *sequence: Fault | str, **behaviour: Any) -> None:
        """Behave like this from the next request on: `script("503", "503", latency=Fixed(seconds=0.1))`."""
        self._chat.script = Script(Behaviour.model_validate({"sequence": sequence, **behaviour}))

    def reset_counts(self) -> None:
        self._counts.reset()

    def __enter__(self) -> Self:
        self._thread.start()
        _wait(lambda: self._server.started, "start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        _wait(lambda: not self._thread.is_alive(), "stop")


def serve(behaviour: Behaviour | None = None, *, port: int = 0, announce: Callable[[str], None]) -> None:
    """Be a simulator until SIGINT or SIGTERM. `announce` is given its base URL. Raises ConfigurationError."""
    counts = Counts()
    sock = listen(port)
    announce(f"http://{HOST}:{sock.getsockname()[1]}/v1")
    server(Chat(Script(behaviour or Behaviour()), counts), counts).run([sock])


def server(chat: Chat, counts: Counts, **options: Any) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application(chat, counts),
            http=Protocol,
            loop="asyncio",
            lifespan="off",
            ws="none",
            access_log=False,
            date_header=False,  # uvicorn's may be a second old, and replies with a date to wait for bring their own
            log_config=None,
            log_level="critical",
            timeout_keep_alive=KEEPALIVE,
            timeout_graceful_shutdown=GRACE,
            **options,
        )
    )


def listen(port: int) -> socket.socket:
    """A listening loopback socket. Raises ConfigurationError when the port is taken."""
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it, each answer takes 40 ms more.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        sock.listen(1024)
    except OSError as exc:
        sock.close()
        raise ConfigurationError(f"the simulator cannot listen on {HOST}:{port}: {exc.strerror}") from exc
    return sock


def _wait(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"the simulator did not {what} within {PATIENCE:g} s")
        time.sleep(0.005)
