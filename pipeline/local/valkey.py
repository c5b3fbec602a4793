"""An embedded Valkey: durable as in production, reached through a socket that only its owner can open."""

from __future__ import annotations

import signal
from pathlib import Path

import redis

from pipeline.local import binaries
from pipeline.local.process import Launch
from pipeline.local.server import Server

SETTINGS: dict[str, str] = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    # the append-only file is enough: a fork for a snapshot would only cost
    "save": "",
}


class Valkey(Server):
    """A Valkey on a data folder."""

    process_name = "valkey-server"

    def __init__(self, data: Path, sockets: Path, *, log: Path | None = None, name: str = "valkey") -> None:
        super().__init__(data, sockets, name=name, log=log)

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def is_ready(self) -> bool:
        if not self.alive:
            return False
        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False  # not there yet, or still reading its data

    def prepare(self) -> Launch:
        self.socket.unlink(missing_ok=True)
        settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
        command = [str(binaries.valkey_server()), *settings, "--dir", str(self.data), "--unixsocket", str(self.socket)]
        return Launch(command, self.log, folder=self.data, death_signal=signal.SIGTERM)
