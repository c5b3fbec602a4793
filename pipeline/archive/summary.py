"""Summaries: what a model is told about messages that it no longer sees. Rolling: the old one and what is new make
the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.schemas import Message
from pipeline.store.archives import Summary

#: Most characters of a summary.
LONGEST = 4000

#: Most characters of what the extractive summary quotes of one message.
QUOTE = 160

#: Characters of a message that are looked at for that: it may begin with many blanks.
LOOK = 8 * QUOTE

#: Lines from the conversation's beginning that stay when an extractive summary becomes too long.
BEGINNING = 6

LEFT_OUT = "…"

#: Bytes of an estimated token.
TOKEN = 4


class Summariser(Protocol):
    """Makes summaries. Safe to use from any thread."""

    def sum_up(self, old: str | None, messages: Sequence[Message]) -> tuple[str, str]:
        """The new summary and who made it. `messages` are not empty, and come right after what `old` tells of."""


class Extractive:
    """Quotes how each message begins: offline, and the same for the same messages."""

    def sum_up(self, old: str | None, messages: Sequence[Message]) -> tuple[str, str]:
        lines = [*(old.splitlines() if old else ()), *(line for one in messages if (line := _quote(one)))]
        return _shortened(lines), "extractive"


@dataclass(frozen=True, slots=True)
class Rolling:
    """Carries a session's summary on."""

    summariser: Summariser

    def next(self, old: Summary | None, messages: Sequence[Message]) -> Summary | None:
        """The summary after these messages; None where the old one tells of all of them already."""
        known = old.through_number if old else 0
        new = [one for one in messages if (one.number or 0) > known]
        if not new:
            return None
        text, by = self.summariser.sum_up(old.text if old else None, new)
        first, through = (old.first_number if old else new[0].number or 1), new[-1].number or 1
        return Summary(text, first, through, by, estimated_tokens(text))


def estimated_tokens(text: str) -> int:
    """About as many as a model's tokeniser would count."""
    return (len(text.encode()) + TOKEN - 1) // TOKEN


def _quote(message: Message) -> str:
    if message.role not in ("user", "assistant"):
        return ""
    words = " ".join(message.content[:LOOK].split())
    if not words:
        return ""
    sentence, end, _ = words.partition(". ")
    short = sentence + end.rstrip()
    if len(short) > QUOTE:
        short = f"{short[: QUOTE - 1]}{LEFT_OUT}"
    return f"{message.role}: {short}"


def _shortened(lines: Sequence[str]) -> str:
    whole = "\n".join(lines)
    if len(whole) <= LONGEST:
        return whole
    head = [line[: 2 * QUOTE] for line in lines[:BEGINNING]]
    room = LONGEST - sum(len(line) + 1 for line in head) - len(LEFT_OUT) - 1
    tail: list[str] = []
    for line in reversed([line for line in lines[BEGINNING:] if line != LEFT_OUT]):
        room -= len(line) + 1
        if room < 0:
            break
        tail.append(line)
    return "\n".join([*head, LEFT_OUT, *reversed(tail)])
