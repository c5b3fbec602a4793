"""The pool of connections to one provider."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpcore2
import httpx2

from pipeline.errors import ConfigurationError
from pipeline.providers import watch
from pipeline.providers.sockets import Backend

#: Seconds that an idle connection is kept: less than the 5 s of many self-hosted servers, or a call is now and then
#: sent to a connection that the other end is about to close.
KEEPALIVE = 4.0

#: What a stream of server-sent events ends with.
DONE = b"[DONE]"

#: Seconds to wait for the end of a response whose answer is complete.
DRAIN = 0.1

CORE_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


class Transport(httpx2.BaseTransport):
    """The HTTP client's own transport, but for sockets that can be interrupted.

    At most `keep` idle connections are kept. There is no limit on busy ones: waiting for one could not be
    interrupted, and the worker's slots bound them.
    """

    def __init__(self, base_url: str, *, keep: int) -> None:
        self._pool = _pool(base_url, keep)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translated():
            response = self._pool.handle_request(asked)
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            chunks = self._response.iter_stream()
            for chunk in chunks:
                # The SDK stops reading here; a connection is used again only if its response was read to the end.
                yield chunk + _rest(chunks) if chunk.rstrip().endswith(DONE) else chunk

    def close(self) -> None:
        self._response.close()


def _rest(chunks: Iterator[bytes]) -> bytes:
    try:
        with watch.current().at_most(DRAIN):
            return b"".join(chunks)
    except CORE_ERRORS:  # the answer is complete; the pool drops the connection
        return b""


@contextmanager
def _translated() -> Iterator[None]:
    """The errors of the pool as those of the HTTP client, which the SDK knows. They have the same names."""
    try:
        yield
    except CORE_ERRORS as exc:
        error: type[httpx2.TransportError] = getattr(httpx2, type(exc).__name__)
        raise error(str(exc)) from exc


def _pool(base_url: str, keep: int) -> httpcore2.ConnectionPool:
    proxy = _proxy(base_url)
    context = httpx2.create_ssl_context() if urlsplit(base_url).scheme == "https" else None
    if proxy is None:
        return httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=keep,
            keepalive_expiry=KEEPALIVE,
            network_backend=Backend(),
        )
    return _proxied(proxy, context, keep)


def _proxied(proxy: str, context: ssl.SSLContext | None, keep: int) -> httpcore2.HTTPProxy:
    parts = urlsplit(proxy)
    if parts.scheme != "http" or parts.hostname is None:
        raise ConfigurationError(f"The proxy for providers must be an http:// one, not {parts.scheme}://")
    return httpcore2.HTTPProxy(
        proxy_url=httpcore2.URL(scheme="http", host=parts.hostname, port=parts.port, target="/"),
        proxy_auth=(parts.username, parts.password or "") if parts.username else None,
        ssl_context=context,
        max_connections=None,
        max_keepalive_connections=keep,
        keepalive_expiry=KEEPALIVE,
        network_backend=Backend(),
    )


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment (`HTTPS_PROXY`, `NO_PROXY` …) names for this address."""
    parts = urlsplit(base_url)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
