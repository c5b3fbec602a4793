"""Follows a stream, with threads or with asyncio: the waiting differs, all else is shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import redis
import redis.asyncio
import structlog

from pipeline import broker, signals
from pipeline.stream.assembler import Assembler
from pipeline.stream.cipher import Cipher
from pipeline.stream.pieces import START, Gap, Piece, Position, Text
from pipeline.stream.wire import stream_name, unpack

log = structlog.get_logger(__name__)

#: Most entries that one look brings.
MOST_ENTRIES = 500

#: Seconds between two tries while the broker is away.
PAUSE = 0.1


class Reader:
    """Follows one request's text from a position on, through broken connections and restarted attempts.

    Until the request has an outcome: `read` (or `aread`); then `finish`, with the answer.
    """

    def __init__(self, request_id: str, key: bytes, after: Position = START) -> None:
        self._name = stream_name(request_id)
        self._cipher = Cipher(request_id, key)
        self._entry = after.entry
        self._assembler = Assembler(after)
        self._refused = False
        #: Entries that could not be opened: altered, or written by someone without the key.
        self.unreadable = 0
        #: Losses met on the way. They are made good by `finish`.
        self.gaps: list[Gap] = []

    @property
    def position(self) -> Position:
        """Where another reader may go on."""
        return Position(self._assembler.fence, self._assembler.offset, self._entry)

    def read(self, client: redis.Redis, block: float) -> list[Text]:
        """New text, as soon as there is some. None after `block` seconds without, or when woken, or while the broker
        is away: a frozen one may take the client's time-out longer."""
        for call in self._calls(block, broker.longest_block(client)):
            try:
                reply = client.xread(**call)
            except broker.FAULTS as fault:
                time.sleep(self._pause(fault, block))
                continue
            if reply:
                return self._take(reply)
        return []

    async def aread(self, client: redis.asyncio.Redis, block: float) -> list[Text]:
        """`read` for asyncio."""
        for call in self._calls(block, broker.longest_block(client)):
            try:
                reply = await client.xread(**call)
            except broker.FAULTS as fault:
                await asyncio.sleep(self._pause(fault, block))
                continue
            if reply:
                return self._take(reply)
        return []

    def finish(self, answer: str) -> list[Text]:
        """What the reader still lacks of the answer."""
        return self._assembler.finish(answer)

    def _calls(self, block: float, longest: float) -> Iterator[dict[str, Any]]:
        """Arguments of XREAD, for one call after the other until the time is over; at least one."""
        until = time.monotonic() + block
        while True:
            # one of 0 would wait for ever
            wait = int(min(until - time.monotonic(), longest) * 1000)
            yield {"streams": {self._name: self._entry}, "count": MOST_ENTRIES, "block": wait if wait > 0 else None}
            if time.monotonic() >= until:
                return

    def _pause(self, fault: Exception, block: float) -> float:
        """Seconds to wait after a call that failed. What was read is not affected: the next one asks for the same.

        That the broker is away is for the listener of the process to log, once for all readers.
        """
        signals.broker_failed("follow")
        if isinstance(fault, redis.ResponseError) and not self._refused:
            self._refused = True
            log.warning("stream_refused", error=type(fault).__name__)
        return min(PAUSE, block)

    def _take(self, reply: Any) -> list[Text]:
        """`reply` is XREAD's: our stream is the one it tells of."""
        entries = reply[0][1]
        batch = unpack(entries, self._cipher)
        self._entry = entries[-1][0].decode()
        self.unreadable += batch.unreadable
        return [text for piece in batch.pieces if (text := self._text(piece)) is not None]

    def _text(self, piece: Piece) -> Text | None:
        added = self._assembler.feed(piece)
        if isinstance(added, Gap):
            self.gaps.append(added)
            return None
        return added
