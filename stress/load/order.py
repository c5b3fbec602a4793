"""What a sending process is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from stress.plan import Closed, Load, Open, Stage


@dataclass(frozen=True, slots=True)
class Order:
    """Share number `share` of `of` of a load. The users' ids begin with `run`; `patience` is in seconds."""

    run: str
    load: Load
    agent: str
    patience: float
    share: int = 0
    of: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        return cls(**{**given, "load": _load(given["load"])})


def _load(given: dict[str, Any]) -> Load:
    if "stages" in given:
        return Open(**{**given, "stages": tuple(Stage(**stage) for stage in given["stages"])})
    return Closed(**given)
