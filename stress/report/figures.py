"""The parts of a report. None is what was not measured. Durations are seconds, sizes bytes, shares of one.

Moments are seconds since the start of the load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stress.integrity import Integrity
from stress.latency import Spread
from stress.thresholds import Verdict
from stress.trend import Slope

#: Of the JSON; changed when a reader of the old one would misread the new.
VERSION = 1

#: What growth of memory by the first batch counts as at least: below it is noise, and a ratio to it means nothing.
LEAST_GROWTH = 2e6

#: Why growth of memory, and what workers count, was not measured.
REPLACED = "a worker was replaced"


@dataclass(frozen=True, slots=True)
class Requests:
    """`failed` is everything but an answer, by how it ended in `outcomes`."""

    total: int
    succeeded: int
    failed: int
    outcomes: Mapping[str, int]
    per_second: float

    @property
    def success_rate(self) -> float | None:
        return self.succeeded / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Memory:
    """The workers' summed PSS. `batches` has the growth of each batch, where there were several.

    `replaced`: they were not the same ones throughout, so that how it grew was not measured.
    """

    start: float
    peak: float
    end: float
    batches: Sequence[float] = ()
    slope: Slope | None = None
    replaced: bool = False

    @property
    def growth(self) -> float | None:
        return None if self.replaced else self.end - self.start

    @property
    def acceleration(self) -> float | None:
        """The last batch's growth over the first's."""
        if len(self.batches) < 2:
            return None
        return self.batches[-1] / max(self.batches[0], LEAST_GROWTH)


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that went wrong, how often, and when first and last. `where`: `caller` or `attempt`."""

    where: str
    what: str
    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Producer:
    """The sending side. `cpu` is that of the busiest process, as a share of one core; `lag` how late it sent."""

    processes: int
    cpu: float | None
    lag: Spread | None
    limit: str | None


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """Something was broken from then to then."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Grid:
    """A table that a kind of run adds."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `series` has columns of equal length under each name: `t`, and what was seen then. `more` are figures
    that only a kind of run has."""

    name: str
    began: str
    duration: float
    machine: str
    plan: Mapping[str, Any]
    settings: Mapping[str, Any]
    requests: Requests
    latency: Spread | None
    corrected: Spread | None
    correction: str
    accepting: Spread | None
    queue_wait: Spread | None
    run_time: Spread | None
    attempts: Mapping[int, int]
    retries: Mapping[str, int]
    retry_success: float | None
    republished: int
    errors: Sequence[Mistake]
    depth_max: float | None
    running_max: float | None
    memory: Memory | None
    cpu: Mapping[str, float | None]
    producer: Producer
    breaker_trips: float | None
    rate_limit_hits: float | None
    integrity: Integrity
    invariants: Sequence[str]
    series: Mapping[str, Mapping[str, Sequence[float | None]]]
    verdicts: Sequence[Verdict] = ()
    faults: Sequence[FaultSpan] = ()
    grids: Sequence[Grid] = ()
    more: Mapping[str, float | None] = field(default_factory=dict)
    version: int = field(default=VERSION)

    @property
    def passed(self) -> bool:
        """Whether all that had to hold did."""
        return all(verdict.passed for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """As `--output` writes it, with `figures`: those that have a single number, by the name in thresholds, and
        those that only this kind of run has."""
        from stress.report.single import single_figures

        return {**asdict(self), "passed": self.passed, "figures": {**single_figures(self), **self.more}}
