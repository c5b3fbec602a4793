"""The text of a request as it comes: encrypted pieces on their way from the worker, through the broker, to readers.

The ledger holds the answer; a stream may lose pieces, and its reader then fills up from the answer.
"""

from __future__ import annotations

from pipeline.stream.assembler import Assembler
from pipeline.stream.cipher import new_key
from pipeline.stream.pieces import START, Gap, Piece, Position, Text
from pipeline.stream.reader import Reader
from pipeline.stream.wire import stream_name, wake
from pipeline.stream.writer import Feed, StreamWriter

__all__ = [
    "START",
    "Assembler",
    "Feed",
    "Gap",
    "Piece",
    "Position",
    "Reader",
    "StreamWriter",
    "Text",
    "new_key",
    "stream_name",
    "wake",
]
