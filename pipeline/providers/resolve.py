"""Host names to addresses, without the resolver's own long time-outs."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import threading
from typing import Any

from pipeline.providers import watch

Address = tuple[int, Any]


def addresses(host: str, port: int, expires: float) -> list[Address]:
    """The (family, address) pairs to try, in order. Raises TimeoutError, AttemptInterrupted, OSError."""
    if _is_literal(host):
        return _look_up(host, port)
    return _Lookup(host, port).result(expires)


class _Lookup:
    """A lookup in a thread of its own: the system's cannot be interrupted, so a slow one is left behind."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._found: list[Address] | OSError = []
        self._reader, self._writer = os.pipe()
        threading.Thread(target=self._run, name="resolve", daemon=True).start()

    def _run(self) -> None:
        try:
            self._found = _look_up(self._host, self._port)
        except (OSError, UnicodeError) as exc:  # the latter for a name that no resolver would take
            self._found = OSError(str(exc))
        finally:
            os.close(self._writer)

    def result(self, expires: float) -> list[Address]:
        try:
            watch.current().wait(self._reader, select.POLLIN, expires)
        finally:
            os.close(self._reader)
        if isinstance(self._found, OSError):
            raise self._found
        return self._found


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
