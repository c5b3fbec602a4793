"""kombu's Redis transport with one client a channel, where stock kombu makes one for every operation."""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport

#: The scheme under which a broker URL names this transport.
SCHEME = "oneclient"


class OneClientChannel(Channel):  # type: ignore[misc]  # kombu is read as untyped
    """Keeps its client as long as it keeps its pool."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002  # kombu's signature
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self._pool:
            self._kept = super()._create_client()
        return self._kept


class OneClientTransport(Transport):  # type: ignore[misc]  # likewise
    """The transport of such channels."""

    Channel = OneClientChannel


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:OneClientTransport"


def broker_url(url: str) -> str:
    """A redis-py URL (`unix://` or `redis://`) as kombu wants it, for this transport."""
    scheme, _, rest = url.partition("://")
    return f"{SCHEME}+socket://{rest}" if scheme == "unix" else f"{SCHEME}://{rest}"
