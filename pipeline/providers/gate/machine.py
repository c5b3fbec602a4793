"""The gate as a machine: one message in, one out. Pure, and in one process; `script.py` is the same in the broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.providers.breaker_state import ANY, CLOSED, HALF_OPEN, Breaker, Refusal, Rules
from pipeline.providers.limits import Limits, Spent


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an admitted call went, for the breaker and for the limits. `provider` is a place in the settings.

    `failure` is a fault of the provider's; `void` a call that says nothing of it. `more` are the tokens used beyond
    those reserved, `closed_for` the seconds that the provider asks for.
    """

    provider: int
    ticket: str
    epoch: int
    failure: str | None
    void: bool
    second: int
    more: int
    closed_for: float | None

    def as_row(self) -> tuple[object, ...]:
        return (
            *(self.provider, self.ticket, self.epoch, self.failure, self.void),
            *(self.second, self.more, self.closed_for),
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider that would do, the tokens that the call may take there, and its seconds at most."""

    provider: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """One call that wants in, to the first of the offers that may be taken. `draw` is from 0 up to 1."""

    ticket: str
    draw: float
    offers: tuple[Offer, ...]

    def as_row(self) -> tuple[object, ...]:
        return self.ticket, self.draw, [(one.provider, one.tokens, one.seconds) for one in self.offers]


@dataclass(frozen=True, slots=True)
class Reply:
    """Which offer was taken, if any, under which epoch of its breaker, counted in which second, and whether as a trial;
    and why not those before it."""

    taken: int | None
    epoch: int
    second: int
    trial: bool
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker is in another state now."""

    provider: int
    state: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """What the machine is told, in this order: breakers to be closed, calls that are over, calls that want in."""

    rules: Rules
    limits: tuple[Limits, ...]
    asks: tuple[Ask, ...] = ()
    settlements: tuple[Settlement, ...] = ()
    resets: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the script, without names: it is sent with each call."""
        return {
            "rules": self.rules.as_row(),
            "limits": [one.as_row() for one in self.limits],
            "reset": self.resets,
            "settle": [one.as_row() for one in self.settlements],
            "admit": [one.as_row() for one in self.asks],
        }


@dataclass(frozen=True, slots=True)
class Result:
    """A reply for each ask, and what has changed on the way."""

    replies: tuple[Reply, ...]
    changes: tuple[Change, ...]

    @classmethod
    def of(cls, said: dict[str, Any]) -> Result:
        """From the script's JSON, in which an empty list may be an empty object."""
        replies = [
            Reply(None if taken < 0 else taken, epoch, second, trial, tuple(Refusal(*one) for one in refused or ()))
            for taken, epoch, second, trial, refused in said["replies"] or ()
        ]
        return cls(tuple(replies), tuple(Change(*one) for one in said["changes"] or ()))


class Machine:
    """Breakers and limits of all providers, in the order of the settings."""

    def __init__(self, providers: int) -> None:
        self.breakers = [Breaker() for _ in range(providers)]
        self.spent = [Spent() for _ in range(providers)]
        self._changes: list[Change] = []

    def run(self, message: Message, now: float) -> Result:
        """`now` is in seconds since the epoch."""
        self._changes = []
        for place in message.resets:
            self.breakers[place].reset(now)
            self.spent[place].closed_until = 0.0
            self._note(place)
        for one in message.settlements:
            self.spent[one.provider].settle(now, one.ticket, one.second, one.more, one.closed_for)
            breaker = self._breaker(one.provider, now)
            if one.void:
                breaker.forget(one.ticket, one.epoch)
            elif breaker.settle(message.rules, now, one.ticket, one.epoch, one.failure, second=one.second):
                self._note(one.provider)
        replies = tuple(self._reply(message, ask, now) for ask in message.asks)
        return Result(replies, tuple(self._changes))

    def book(self, limits: Limits, id_: str, offer: Offer, now: float) -> int:
        """Count a call that another machine let in. Returns the second that it is counted in."""
        spent = self.spent[offer.provider]
        # What the provider asked for is over there, or was taken back by hand; it must not come again from here.
        spent.closed_until = 0.0
        return spent.reserve(limits, now, id_, offer.tokens, offer.seconds)

    def look_on(self, rules: Rules, one: Settlement, now: float, booked: int) -> None:
        """Learn from a call that another machine let in, `booked` here in that second. One that goes well when trials
        may begin closes a breaker: the other machine has tried already."""
        breaker = self._breaker(one.provider, now)
        if not one.void:
            if one.failure is None and breaker.state != CLOSED and now >= breaker.since + rules.open_seconds:
                breaker.reset(now)
            breaker.observe(rules, now, booked, one.failure)
        self.spent[one.provider].settle(now, one.ticket, booked, one.more, one.closed_for)

    def closings(self, now: float) -> list[Settlement]:
        """What tells another machine which providers have asked to be left alone, and for how long from now."""
        left = ((place, spent.closed_until - now) for place, spent in enumerate(self.spent))
        return [
            Settlement(place, "", ANY, None, void=True, second=0, more=0, closed_for=n) for place, n in left if n > 0
        ]

    def _reply(self, message: Message, ask: Ask, now: float) -> Reply:
        refusals: list[Refusal] = []
        for index, offer in enumerate(ask.offers):
            refusal = self._refusal(message, ask, offer, now)
            if refusal is None:
                limits = message.limits[offer.provider]
                second = self.spent[offer.provider].reserve(limits, now, ask.ticket, offer.tokens, offer.seconds)
                breaker = self.breakers[offer.provider]
                return Reply(index, breaker.epoch, second, breaker.state == HALF_OPEN, tuple(refusals))
            refusals.append(refusal)
        return Reply(None, 0, 0, trial=False, refusals=tuple(refusals))

    def _refusal(self, message: Message, ask: Ask, offer: Offer, now: float) -> Refusal | None:
        """The breaker comes last, for a trial call that it lets through is counted."""
        refusal = self.spent[offer.provider].refusal(message.limits[offer.provider], now, offer.tokens)
        if refusal is not None:
            return refusal
        breaker = self._breaker(offer.provider, now)
        epoch = breaker.epoch
        refusal = breaker.admit(message.rules, now, ask.draw, ask.ticket, offer.seconds)
        if breaker.epoch != epoch:
            self._note(offer.provider)
        return refusal

    def _breaker(self, place: int, now: float) -> Breaker:
        breaker = self.breakers[place]
        breaker.meet(now)
        return breaker

    def _note(self, place: int) -> None:
        breaker = self.breakers[place]
        self._changes.append(Change(place, breaker.state, breaker.why))
