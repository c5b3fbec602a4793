"""One breaker's state machine. Pure: the clock, chance and the rules are given.

The broker keeps the same machine as a script (`gate/script.py`); a test holds the two to each other. This one serves
while the broker is away, and says in Python what the script does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.settings import Settings

#: Parts that the window is counted in: it slides by one of them.
PARTS = 20

#: Share of the calls that a breaker lets through when it has just closed.
FLOOR = 0.1

#: Seconds after which it is worth asking again, where nobody knows better; and those after which trials count as slow.
AGAIN, LONG = 1.0, 30.0

#: The epoch of a call of which it is not known whether it was admitted.
ANY = -1

CLOSED, HALF_OPEN, OPEN = "closed", "half_open", "open"


@dataclass(frozen=True, slots=True)
class Rules:
    """When a breaker opens and closes. Seconds, calls, and a share of failed calls."""

    rate: float
    min_calls: int
    window: float
    open_seconds: float
    trials: int
    ramp: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Rules:
        return cls(
            rate=settings.breaker_failure_rate,
            min_calls=settings.breaker_min_calls,
            window=settings.breaker_window,
            open_seconds=settings.breaker_open_seconds,
            trials=settings.breaker_half_open_calls,
            ramp=settings.breaker_ramp_seconds,
        )

    def as_row(self) -> tuple[float, ...]:
        return self.rate, self.min_calls, self.window, self.open_seconds, self.trials, self.ramp


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call may not start, and for how many seconds at least."""

    why: str
    wait: float


@dataclass(slots=True)
class Breaker:
    """`epoch` counts the changes of state: what began in an earlier one no longer counts."""

    state: str = CLOSED
    epoch: int = 0
    since: float = 0.0
    #: The reason of the failure that opened it last.
    why: str | None = None
    #: Whether it has closed after having been open, so that calls come back little by little.
    ramping: bool = False
    #: [part's number, succeeded, failed], oldest first.
    window: list[list[int]] = field(default_factory=list)
    #: Failures since the last success, while closed, of calls that did not begin before `good`: the second in which the
    #: latest call that went well began. Who has hung since before it tells of a provider that has come back since.
    in_a_row: int = 0
    good: int = 0
    #: Trial calls under way, and when each is given up.
    trials: dict[str, float] = field(default_factory=dict)
    passed: int = 0

    @classmethod
    def of(cls, document: dict[str, Any]) -> Breaker:
        """As the broker keeps it."""
        return cls(
            state=document["state"],
            epoch=document["epoch"],
            since=document["since"],
            why=document.get("why"),
            ramping=document["ramping"],
            window=[list(part) for part in document.get("window") or []],
            in_a_row=document.get("in_a_row") or 0,
            good=document.get("good") or 0,
            trials=dict(document.get("trials") or {}),
            passed=document["passed"],
        )

    def meet(self, now: float) -> None:
        """To be called first: a clock that was set back must not make it wait until it has come so far again."""
        self.since = min(self.since, now)

    def admit(self, rules: Rules, now: float, draw: float, ticket: str, seconds: float) -> Refusal | None:
        """Let a call through, which takes `seconds` at most, or say why not. `draw` is from 0 up to 1."""
        if self.state == OPEN:
            wait = self.since + rules.open_seconds - now
            if wait > 0:
                return Refusal("breaker_open", wait)
            self._become(HALF_OPEN, now, ramping=False)
        if self.state == HALF_OPEN:
            self.trials = {id_: until for id_, until in self.trials.items() if until > now}
            if len(self.trials) + self.passed >= rules.trials:
                return Refusal("breaker_half_open", AGAIN + min(now - self.since, LONG) / 2)
            self.trials[ticket] = now + seconds
            return None
        elapsed = now - self.since
        if self.ramping and draw >= FLOOR + (1 - FLOOR) * elapsed / rules.ramp:
            return Refusal("breaker_ramp", max(AGAIN, (rules.ramp - elapsed) * draw))
        return None

    def settle(self, rules: Rules, now: float, ticket: str, epoch: int, failure: str | None, *, second: int) -> bool:
        """Take in how a call went that was admitted in that second; `failure` is a fault of the provider's. Returns
        whether the state has changed."""
        if epoch not in (self.epoch, ANY):
            return False
        if self.state == HALF_OPEN:
            return self._settle_trial(rules, now, ticket, failure)
        return self.observe(rules, now, second, failure)

    def forget(self, ticket: str, epoch: int) -> None:
        """A call that was admitted has said nothing of the provider: another may try in its stead."""
        if epoch in (self.epoch, ANY):
            self.trials.pop(ticket, None)

    def observe(self, rules: Rules, now: float, second: int, failure: str | None) -> bool:
        """Count a call that began in that second, while closed. Returns whether that opened it: where the share of
        failures is too high, or where the last calls all failed, of which a minute of good ones before would make a
        small share."""
        if self.state != CLOSED:
            return False
        part = int(now * PARTS / rules.window)
        # parts that lie ahead were counted under a shorter window: they would never end
        self.window = [one for one in self.window if part - PARTS < one[0] <= part]
        if not self.window or self.window[-1][0] < part:
            self.window.append([part, 0, 0])
        self.window[-1][1 if failure is None else 2] += 1
        if failure is None:
            self.in_a_row, self.good = 0, max(self.good, second)
            return False
        self.in_a_row += second >= self.good
        failed = sum(one[2] for one in self.window)
        total = failed + sum(one[1] for one in self.window)
        often = total >= rules.min_calls and failed >= rules.rate * total
        dead = min(failed, self.in_a_row) >= rules.min_calls  # in a row, and all of them within the window
        if not often and not dead:
            return False
        self._open(now, failure)
        return True

    def reset(self, now: float) -> None:
        """Close it, whatever it has seen."""
        self._become(CLOSED, now, ramping=False)

    def _settle_trial(self, rules: Rules, now: float, ticket: str, failure: str | None) -> bool:
        if self.trials.pop(ticket, None) is None:
            return False
        if failure is not None:
            self._open(now, failure)
            return True
        self.passed += 1
        if self.passed < rules.trials:
            return False
        self._become(CLOSED, now, ramping=True)
        return True

    def _open(self, now: float, why: str) -> None:
        self._become(OPEN, now, ramping=False)
        self.why = why

    def _become(self, state: str, now: float, *, ramping: bool) -> None:
        self.state, self.since, self.ramping = state, now, ramping
        self.epoch += 1
        self.passed = 0
        self.window, self.in_a_row, self.good, self.trials = [], 0, 0, {}
