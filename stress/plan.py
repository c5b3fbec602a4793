"""What a run is to do: who sends when, how the provider behaves, and what must hold afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stress.thresholds import Threshold

#: How a provider fails in practice: mostly for a moment, sometimes by asking for less, sometimes by going away.
#: Each with its share of all faults.
FAULT_MIX = {"503": 0.4, "500": 0.2, "429": 0.1, "504": 0.1, "reset": 0.1, "cut": 0.1}


@dataclass(frozen=True, slots=True)
class Closed:
    """Users who wait: each sends its next request `delay` seconds after the answer to its last.

    With `duration` (seconds) they go on for so long, instead of for so many `requests` each. A user who does not
    `wait` sends all of them `delay` seconds apart. The whole is done `batches` times over, by the same users;
    `spread` is the time in seconds within which they begin. `on_busy` is what happens to one whose conversation has
    another without an outcome.
    """

    users: int = 10
    requests: int = 5
    delay: float = 0.1
    duration: float | None = None
    conversations: int = 1
    wait: bool = True
    batches: int = 1
    spread: float = 0
    on_busy: str = "queue"

    @property
    def total(self) -> int | None:
        """How many requests that makes; None where time decides."""
        return None if self.duration else self.users * self.requests * self.batches

    def __str__(self) -> str:
        each = f"for {self.duration:g} s" if self.duration else f"x {self.requests} requests"
        times = f", {self.batches} times" if self.batches > 1 else ""
        talks = f", {self.conversations} conversations each" if self.conversations > 1 else ""
        return f"closed: {self.users} users {each}, {self._pace()}{_meeting(self.on_busy)}{times}{talks}"

    def _pace(self) -> str:
        if not self.wait and not self.delay:
            return "sent at once"
        return f"{self.delay * 1e3:g} ms apart" + ("" if self.wait else ", without waiting")


@dataclass(frozen=True, slots=True)
class Stage:
    """Some seconds in which the rate of an open load goes evenly from one figure to another, in requests a second."""

    seconds: float
    start: float
    end: float

    @property
    def count(self) -> float:
        return self.seconds * (self.start + self.end) / 2

    def __str__(self) -> str:
        rate = f"{self.start:g}" if self.start == self.end else f"{self.start:g} to {self.end:g}"
        return f"{rate}/s for {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Open:
    """Requests that come when they come, whether or not earlier ones are answered; of `users` in turn."""

    stages: tuple[Stage, ...]
    users: int = 100
    on_busy: str = "queue"

    @property
    def batches(self) -> int:
        return 1

    @property
    def total(self) -> int:
        return int(sum(stage.count for stage in self.stages))

    def __str__(self) -> str:
        return f"open: {', '.join(map(str, self.stages))}, of {self.users} users{_meeting(self.on_busy)}"


Load = Closed | Open


def _meeting(on_busy: str) -> str:
    return "" if on_busy == "queue" else f', on_busy="{on_busy}"'


@dataclass(frozen=True, slots=True)
class Profile:
    """How the simulated provider behaves. Latencies are seconds until the first token, lognormal."""

    median: float = 0.25
    p99: float = 1.0
    faults: float = 0.02
    seed: int = 1

    def behaviour(self) -> dict[str, Any]:
        """As the simulator is told it."""
        rates = [{"kind": kind, "rate": self.faults * share} for kind, share in FAULT_MIX.items()]
        if self.median == 0:
            latency: dict[str, Any] = {"kind": "fixed", "seconds": 0}
        else:
            latency = {"kind": "lognormal", "median": self.median, "p99": max(self.p99, self.median)}
        return {"seed": self.seed, "latency": latency, "rates": rates if self.faults else []}

    def __str__(self) -> str:
        mix = ", ".join(f"{share:.0%} {kind}" for kind, share in FAULT_MIX.items())
        kinds = f" ({mix})" if self.faults else ""
        latency = f"lognormal, median {self.median * 1e3:g} ms, p99 {self.p99 * 1e3:g} ms"
        return f"simulator: {latency}, {self.faults:.1%} faults{kinds}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `agent` answers; `patience` is how many seconds a caller waits for its answer.

    Queue and memory are looked at every `look_every` seconds; by the load's length where none are named.
    """

    name: str
    load: Load
    profile: Profile = Profile()
    thresholds: Sequence[Threshold] = ()
    workers: int = 2
    processes: int = 1
    agent: str = "chat"
    patience: float = 300.0
    settings: dict[str, str] = field(default_factory=dict)
    look_every: float | None = None

    def described(self) -> dict[str, Any]:
        """For the report."""
        return {
            "load": str(self.load),
            "provider": str(self.profile),
            "workers": self.workers,
            "producers": self.processes,
            "agent": self.agent,
            "patience": self.patience,
            "set": self.settings,
            "exact": {"load": asdict(self.load), "profile": asdict(self.profile)},
        }
