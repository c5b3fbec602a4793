"""Sockets for the HTTP client that another thread can interrupt: none of their waits is longer than a slice."""

from __future__ import annotations

import errno
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, TypeVar

import httpcore2

from pipeline.providers import watch
from pipeline.providers.resolve import addresses

T = TypeVar("T")


class Stream(httpcore2.NetworkStream):
    """A connection, whose socket never blocks by itself."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _named(httpcore2.ReadTimeout, httpcore2.ReadError):
            return _patiently(self._sock, partial(self._sock.recv, max_bytes), select.POLLIN, _expiry(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        expires = _expiry(timeout)
        left = memoryview(buffer)
        with _named(httpcore2.WriteTimeout, httpcore2.WriteError):
            while left:
                left = left[_patiently(self._sock, partial(self._sock.send, left), select.POLLOUT, expires) :]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Stream:
        with _named(httpcore2.ConnectTimeout, httpcore2.ConnectError), _closed_on_error(self._sock):
            wrapped = ssl_context.wrap_socket(
                self._sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            with _closed_on_error(wrapped):
                _patiently(wrapped, wrapped.do_handshake, select.POLLIN, _expiry(timeout))
        return Stream(wrapped)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # asked of an idle connection, where it means that the other end hung up
            return self._sock.fileno() < 0 or _is_readable(self._sock)
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        return self._sock if info == "socket" else None


class Backend(httpcore2.NetworkBackend):
    """Opens connections."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Stream:
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *(socket_options or ())]
        expires = _expiry(timeout)
        failure: OSError = OSError("the name has no address")
        with _named(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            for family, address in addresses(host, port, expires):
                try:
                    return Stream(_connected(family, address, expires, local_address, options))
                except TimeoutError:
                    raise
                except OSError as refused:
                    failure = refused
            raise failure


def _connected(
    family: int, address: Any, expires: float, local_address: str | None, options: Iterable[Any]
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    with _closed_on_error(sock):
        sock.settimeout(0)
        for option in options:
            sock.setsockopt(*option)
        if local_address is not None:
            sock.bind((local_address, 0))
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            watch.current().wait(sock.fileno(), select.POLLOUT, expires)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "connect")
    return sock


def _patiently(sock: socket.socket, operation: Callable[[], T], events: int, expires: float) -> T:
    """Do it as soon as the socket lets us. A socket that always has something still meets its limit."""
    call = watch.current()
    call.check(expires)
    while True:
        try:
            return operation()
        except ssl.SSLWantWriteError:
            call.wait(sock.fileno(), select.POLLOUT, expires)
        except ssl.SSLWantReadError:
            call.wait(sock.fileno(), select.POLLIN, expires)
        except BlockingIOError:
            call.wait(sock.fileno(), events, expires)


def _is_readable(sock: socket.socket) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def _expiry(timeout: float | None) -> float:
    return inf if timeout is None else time.monotonic() + timeout


@contextmanager
def _named(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    """Give the HTTP library its own names for what went wrong."""
    try:
        yield
    except TimeoutError as exc:
        raise timeout from exc
    except OSError as exc:
        raise failure(str(exc)) from exc


@contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise
