"""How a stream lies in the broker: a Redis Stream for each request, `f`ence, `o`ffset and `c`iphertext an entry.

An entry without ciphertext carries nothing: it only wakes whoever waits, to look whether the request has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from pipeline.stream.cipher import Cipher
from pipeline.stream.pieces import Piece

# Appends and expiry are one step, so that no stream is ever left without an end of its time: not when the connection
# breaks between them, nor when the broker was emptied and an append makes the key anew. One bad key spoils no other.
APPEND = """
local refused = 0
for i, key in ipairs(KEYS) do
  local at = 3 * i - 1
  local added = redis.pcall('XADD', key, '*', 'f', ARGV[at], 'o', ARGV[at + 1], 'c', ARGV[at + 2])
  if type(added) == 'table' and added.err then refused = refused + 1
  else redis.call('EXPIRE', key, ARGV[1]) end
end
return refused
"""


def stream_name(request_id: str) -> str:
    """The key of a request's stream."""
    return f"cite_agent:stream:{request_id}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be appended to a stream. Without ciphertext it wakes readers."""

    stream: str
    fence: int
    offset: int
    sealed: bytes = b""


class Appender:
    """Appends entries of many streams in one round trip; each stream then lives `keep` seconds more."""

    def __init__(self, client: redis.Redis, keep: int) -> None:
        self._append = client.register_script(APPEND)
        self._keep = keep

    def append(self, entries: Sequence[Entry]) -> int:
        """How many entries the broker refused. Raises redis.RedisError when it took none, or did not say so."""
        values: list[Any] = [self._keep]
        for entry in entries:
            values += (entry.fence, entry.offset, entry.sealed)
        return int(self._append(keys=[entry.stream for entry in entries], args=values))


def wake(client: redis.Redis, request_ids: Iterable[str], *, keep: int) -> None:
    """Let those who wait for text of these requests look up, in any process. Raises redis.RedisError."""
    Appender(client, keep).append([Entry(stream_name(id_), 0, 0) for id_ in request_ids])


@dataclass(frozen=True, slots=True)
class Batch:
    """What a look into a stream brought: the pieces in order, and how many entries could not be opened."""

    pieces: list[Piece]
    unreadable: int


def unpack(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], cipher: Cipher) -> Batch:
    """Open entries. Those that were altered, or are none of ours, are left out and counted."""
    opened = [_open(fields, cipher) for _, fields in entries]
    pieces = [piece for piece in opened if piece is not None]
    return Batch(pieces, len(opened) - len(pieces))


def _open(fields: dict[bytes, bytes], cipher: Cipher) -> Piece | None:
    try:
        fence, offset, sealed = int(fields[b"f"]), int(fields[b"o"]), fields[b"c"]
    except (KeyError, ValueError):
        return None
    text = cipher.open(fence, offset, sealed) if sealed else ""
    return None if text is None else Piece(fence, offset, text)
