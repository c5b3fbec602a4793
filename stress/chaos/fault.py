"""What a fault is, what a strike of one leaves, and how they are found by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from stress.chaos.scene import Scene

#: Requests that a strike should touch at least: fewer prove little.
LEAST = 20

#: Those that it waits for: some may end in the last moment before it.
WANTED = 30


class CannotStrike(Exception):
    """This fault cannot be made here, and why."""


@dataclass(frozen=True, slots=True)
class Level:
    """How long the simulated provider thinks, in seconds: the longer, the more runs and waits at once."""

    median: float
    p99: float

    def behaviour(self, seed: int, **more: Any) -> dict[str, Any]:
        """As the simulator is told it."""
        return {"seed": seed, "latency": {"kind": "lognormal", "median": self.median, "p99": self.p99}, **more}


#: Between faults; about half of all slots taken; all of them taken and more waiting, at the default rate and slots.
CALM, HALF, FULL = Level(0.4, 1.2), Level(2.4, 4.0), Level(6.0, 10.0)

#: Requests by id, each with its fence at the moment of the strike.
Touched = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault, made. Moments are of the monotonic clock; a kill ends when it strikes.

    `anew`: whoever ran what was touched is gone, so that it runs again only once it is claimed again.
    """

    touched: Touched
    began: float
    ended: float
    anew: bool = False

    @classmethod
    def since(cls, began: float, touched: Touched, *, anew: bool = False) -> Self:
        """One that ends now."""
        return cls(touched, began, time.monotonic(), anew)

    @classmethod
    def at(cls, moment: float, touched: Touched, *, anew: bool = False) -> Self:
        """One that is over at once."""
        return cls(touched, moment, moment, anew)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong. `spared`: of what it touched, some may fail, for attempts are bounded."""

    name: str
    family: str
    what: str
    level: Level
    strike: Callable[[Scene], Strike]
    spared: bool = False


#: Every fault, by name.
FAULTS: dict[str, Fault] = {}


def fault(
    name: str, level: Level, *, spared: bool = False
) -> Callable[[Callable[[Scene], Strike]], Callable[[Scene], Strike]]:
    """Declare the function as a fault, which strikes at that level of load. Its docstring says what it touches."""

    def declare(strike: Callable[[Scene], Strike]) -> Callable[[Scene], Strike]:
        family = strike.__module__.rpartition(".")[2]
        FAULTS[name] = Fault(name, family, " ".join((strike.__doc__ or "").split()), level, strike, spared)
        return strike

    return declare
