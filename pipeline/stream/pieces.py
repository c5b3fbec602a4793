"""What a stream is made of. Offsets and lengths are characters, counted from the start of an attempt's text."""

from __future__ import annotations

from dataclasses import dataclass


class Text(str):
    """Some of the answer. When `restarted`, it begins the text anew: what came before it is void."""

    __slots__ = ("restarted",)
    restarted: bool

    def __new__(cls, text: str, *, restarted: bool = False) -> Text:
        made = super().__new__(cls, text)
        made.restarted = restarted
        return made


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of a stream, decrypted: text of the attempt with this fencing number, from `offset` on."""

    fence: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """`missing` characters from `offset` on were lost. What follows them is withheld until the answer is known."""

    fence: int
    offset: int
    missing: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader has come: the attempt's fence, characters of its text, and the id of the last entry."""

    fence: int = 0
    offset: int = 0
    entry: str = "0-0"


#: Before the first entry.
START = Position()
