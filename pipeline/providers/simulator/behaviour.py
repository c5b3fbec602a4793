"""How the simulator is to behave."""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

#: How many standard deviations the 99th percentile of a normal distribution lies above its median.
P99 = 2.3263

Kind = Literal[
    "ok", "429", "500", "502", "503", "504", "400", "401", "context_too_long", "rate_limit", "budget",
    "hang", "reset", "cut", "cut_reset", "unfinished", "empty", "malformed", "error_event", "nul", "tool_calls",
]  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fixed(_Part):
    """Always the same latency."""

    kind: Literal["fixed"] = "fixed"
    seconds: NonNegativeFloat = 0

    def draw(self, _: Random) -> float:
        return self.seconds


class Uniform(_Part):
    """Any latency of a range is as likely as any other."""

    kind: Literal["uniform"] = "uniform"
    low: NonNegativeFloat
    high: NonNegativeFloat

    def draw(self, random: Random) -> float:
        return random.uniform(self.low, self.high)


class Lognormal(_Part):
    """Most latencies near the median, a few long ones: what real providers show."""

    kind: Literal["lognormal"] = "lognormal"
    median: PositiveFloat
    p99: PositiveFloat

    def draw(self, random: Random) -> float:
        return random.lognormvariate(math.log(self.median), math.log(self.p99 / self.median) / P99)


class Fault(_Part):
    """One way not to answer plainly. May be written as its kind alone.

    `retry_after` (seconds) is told with a 429, 500, 502, 503, 504 or rate_limit, in the given form. `rate` is the
    share of requests that it befalls, where faults come by rate.
    """

    kind: Kind
    retry_after: NonNegativeFloat | None = None
    form: Literal["seconds", "date", "ms"] = "seconds"
    rate: float = Field(0, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _from_kind(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given


OK = Fault(kind="ok")


class Behaviour(_Part):
    """A script. `latency` is until the first token; without `tokens_per_second` all text comes at once then.

    The next requests meet the faults of `sequence`, one each, in the order of their arrival; those after them the
    faults of `rates`, by chance. One seed gives one run of latencies and faults.
    """

    seed: int = 1
    latency: Annotated[Fixed | Uniform | Lognormal, Field(discriminator="kind")] = Fixed()
    tokens_per_second: PositiveFloat | None = None
    sequence: tuple[Fault, ...] = ()
    rates: tuple[Fault, ...] = ()

    @model_validator(mode="after")
    def _rates_fit(self) -> Behaviour:
        if sum(fault.rate for fault in self.rates) > 1:
            raise ValueError("rates: their sum is over 1")
        return self


class Script:
    """A behaviour being played."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._random = Random(behaviour.seed)  # noqa: S311 - chance that can be repeated is the point
        self._sequence = list(reversed(behaviour.sequence))

    @property
    def ahead(self) -> Behaviour:
        """The behaviour, with what is left of its sequence."""
        return self.behaviour.model_copy(update={"sequence": tuple(reversed(self._sequence))})

    def next(self) -> tuple[Fault, float]:
        """What befalls the next request, and its latency in seconds."""
        latency, chance = self.behaviour.latency.draw(self._random), self._random.random()
        return (self._sequence.pop() if self._sequence else self._by_chance(chance)), latency

    def _by_chance(self, chance: float) -> Fault:
        for fault in self.behaviour.rates:
            chance -= fault.rate
            if chance < 0:
                return fault
        return OK
