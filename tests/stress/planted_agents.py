"""Agents with a defect, for the harness to find, and one without."""

from __future__ import annotations

import time

from pipeline import Turn, agent

#: What a leaking worker never lets go of: 10 kB a request, so 1 MB in 100.
LEAKED = 10_000
_kept: list[bytearray] = []

#: Seconds that one of each user's requests takes: the one of this number.
STALL, STALLED = 3.0, "10"


def _answer(turn: Turn) -> str:
    turn.wait(0.02)
    return f"answer to {turn.text}"


@agent("sound")
def sound(turn: Turn) -> str:
    """Answer after a moment."""
    return _answer(turn)


@agent("leaky")
def leaky(turn: Turn) -> str:
    """Answer after a moment, and keep something for ever."""
    _kept.append(bytearray(b"x" * LEAKED))
    return _answer(turn)


@agent("slow")
def slow(turn: Turn) -> str:
    """Answer after a time in which much can be done to the request."""
    time.sleep(STALL)
    return _answer(turn)


@agent("listening")
def listening(turn: Turn) -> str:
    """Answer after a time, unless a newer message interrupts."""
    turn.wait(STALL)
    return _answer(turn)


@agent("stalling")
def stalling(turn: Turn) -> str:
    """Answer after a moment; but one of each user's requests takes long."""
    if turn.text.rpartition(" ")[2] == STALLED:
        time.sleep(STALL)
    return _answer(turn)
