"""How many messages a channel may take at this moment, and which ones it holds for later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kombu.transport import virtual

#: Most messages that one command takes off the broker's lists.
BATCH = 32


class QoS(virtual.QoS):  # type: ignore[misc]  # kombu ships no types
    """Kombu's bookkeeping in memory, without the hash and index in Redis by which its own transport redelivers.

    Whatever is lost with a worker's memory is in the ledger, which publishes it again.
    """

    #: How many more tasks can start at once; None where nothing limits that.
    free_slots: Callable[[], int] | None = None
    #: Most messages held unacknowledged, which under early acknowledgement are those that wait for their time.
    held_limit: int | None = None

    def credit(self) -> int:
        """How many messages may be taken now, at most BATCH."""
        held = len(self._delivered) - len(self._dirty)
        credit = BATCH
        if self.prefetch_count:
            credit = min(credit, self.prefetch_count - held)
        if self.held_limit is not None:
            credit = min(credit, self.held_limit - held)
        if self.free_slots is not None and credit > 0:
            credit = min(credit, self.free_slots())
        return max(credit, 0)

    def can_consume(self) -> bool:
        # While an answer is outstanding it must be read when it comes, credit or not: what it brings has left
        # the broker, and would be lost with the socket. The channel gives back what is too much.
        return bool(self.channel.awaits_messages) or self.credit() > 0

    def take_held(self) -> Iterable[Any]:
        """The messages held unacknowledged, oldest first, which are forgotten here."""
        self._flush()
        held = list(self._delivered.values())
        self._delivered.clear()
        return held
