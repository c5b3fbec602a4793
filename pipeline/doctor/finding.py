"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. Only what is wrong makes `pipeline doctor` fail."""

    fine = "fine"
    warning = "warning"
    wrong = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and where it is not fine what to do."""

    level: Level
    what: str
    remedy: str | None = None


def fine(what: str) -> Finding:
    return Finding(Level.fine, what)


def warning(what: str, remedy: str) -> Finding:
    return Finding(Level.warning, what, remedy)


def wrong(what: str, remedy: str) -> Finding:
    return Finding(Level.wrong, what, remedy)
