"""The gate that calls go through: the fleet's, or while the broker is away this worker's own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis
import structlog

from pipeline import broker, signals
from pipeline.providers.breaker_state import OPEN, Refusal, Rules
from pipeline.providers.gate.machine import Ask, Change, Machine, Message, Offer, Reply, Result, Settlement
from pipeline.providers.gate.script import Script
from pipeline.providers.gate.shared import AT_ONCE, LATER, SOON, SharedGate
from pipeline.providers.limits import Limits
from pipeline.settings import ProviderSettings, Settings

log = structlog.get_logger(__name__)

#: Seconds for which the broker is not asked after it failed: calls should not wait for it one after the other.
PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to make one call. `shared`: the fleet's gate gave it, and is to be told how the call went. The call is
    counted in `second` by that gate's clock, and in `booked` by this worker's."""

    id: str
    offer: Offer
    epoch: int
    second: int
    trial: bool
    shared: bool
    booked: int


@dataclass(frozen=True, slots=True)
class Admission:
    """The ticket, if any offer may be taken, and why not those before it."""

    ticket: Ticket | None
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a call went: `failure` is a fault of the provider's; `void`, nothing can be said of it. `tokens` were used,
    None where that is not known; `closed_for` is what the provider asked for, in seconds."""

    failure: str | None = None
    void: bool = False
    tokens: int | None = None
    closed_for: float | None = None


class Gate:
    """Safe to use from any thread. `living` says how many workers share the limits while the broker is away."""

    def __init__(
        self,
        providers: Sequence[ProviderSettings],
        settings: Settings,
        client: redis.Redis,
        *,
        living: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._providers = providers
        self._rules = Rules.from_settings(settings)
        self._limits = tuple(Limits.of(one) for one in providers)
        self._living, self._clock, self._draw = living, clock, draw
        self._client = client
        self._script = Script(client, providers)
        self._shared = SharedGate(self._run_shared, self._lost)
        self._machine = Machine(len(providers))
        self._lock = threading.Lock()
        self._away = False
        self._away_until = 0.0

    def admit(self, offers: Sequence[Offer]) -> Admission:
        """Let a call in, to the first of the offers that may be taken. Never raises on the broker's account."""
        ask = Ask(f"{random.getrandbits(48):012x}", self._draw(), tuple(offers))
        shared = self._may_ask()
        try:
            reply = self._shared.ask(ask) if shared else self._ask_locally(ask)
        except broker.FAULTS:
            shared, reply = False, self._ask_locally(ask)
        else:
            self._note_back(shared=shared)
        if reply.taken is None:
            return Admission(None, reply.refusals)
        offer = ask.offers[reply.taken]
        booked = self._book(ask.ticket, offer) if shared else reply.second
        ticket = Ticket(ask.ticket, offer, reply.epoch, reply.second, reply.trial, shared, booked)
        return Admission(ticket, reply.refusals)

    def settle(self, ticket: Ticket, verdict: Verdict) -> None:
        """Tell how the call went. Does not wait for the broker."""
        offer = ticket.offer
        settlement = Settlement(
            provider=offer.provider,
            ticket=ticket.id,
            epoch=ticket.epoch,
            failure=verdict.failure,
            void=verdict.void,
            second=ticket.second,
            more=0 if verdict.tokens is None else verdict.tokens - offer.tokens,
            closed_for=verdict.closed_for,
        )
        if ticket.shared:
            self._shared.settle(settlement, self._patience(ticket, verdict))
        self._settle_locally(settlement, ticket)

    def _patience(self, ticket: Ticket, verdict: Verdict) -> float:
        """Seconds that the fleet may go without knowing how a call went."""
        if verdict.failure is not None or verdict.closed_for is not None:
            return AT_ONCE
        awaited = ticket.trial or self._limits[ticket.offer.provider].concurrency is not None
        return SOON if awaited else LATER

    def stop(self) -> None:
        """Tell what is still to be told, and close the client."""
        self._shared.stop()
        self._script.close()
        self._client.close()

    def _run_shared(self, asks: Sequence[Ask], settlements: Sequence[Settlement]) -> Result:
        told = (*settlements, *self._heard_meanwhile()) if self._away else tuple(settlements)
        result = self._script.run(Message(self._rules, self._limits, tuple(asks), told))
        self._tell(result.changes)
        return result

    def _ask_locally(self, ask: Ask) -> Reply:
        signals.breaker_went_local()
        workers = self._living()
        limits = tuple(one.shared_by(workers) for one in self._limits)
        with self._lock:
            result = self._machine.run(Message(self._rules, limits, (ask,)), self._clock())
        self._tell(result.changes)
        return result.replies[0]

    def _heard_meanwhile(self) -> Sequence[Settlement]:
        """What providers asked for while the broker was away: it is told before it lets in the first call again."""
        with self._lock:
            return self._machine.closings(self._clock())

    def _book(self, id_: str, offer: Offer) -> int:
        """Count what the fleet's gate let in against this worker's share, should the broker go away meanwhile."""
        with self._lock:
            return self._machine.book(self._limits[offer.provider], id_, offer, self._clock())

    def _settle_locally(self, settlement: Settlement, ticket: Ticket) -> None:
        """This worker's own gate looks on while the fleet's is in force, so that it knows a dead provider at once."""
        changes: tuple[Change, ...] = ()
        with self._lock:
            now = self._clock()
            if not ticket.shared:
                changes = self._machine.run(Message(self._rules, self._limits, settlements=(settlement,)), now).changes
            else:
                self._machine.look_on(self._rules, settlement, now, ticket.booked)
        self._tell(changes)

    def _may_ask(self) -> bool:
        """Whether the broker is worth asking; after a failure, one caller a while tries for all."""
        if not self._away:
            return True
        with self._lock:
            if time.monotonic() < self._away_until:
                return False
            self._away_until = time.monotonic() + PAUSE
            return True

    def _note_back(self, *, shared: bool) -> None:
        if shared and self._away:
            self._away = False
            log.info("breaker_shared_again")

    def _lost(self, settlements: int, fault: Exception) -> None:
        signals.broker_failed("breaker", settlements + 1)
        with self._lock:
            first, self._away = not self._away, True
            self._away_until = time.monotonic() + PAUSE
        if first:
            log.warning("breaker_local", error=type(fault).__name__, settlements_lost=settlements)

    def _tell(self, changes: Sequence[Change]) -> None:
        for change in changes:
            provider = self._providers[change.provider]
            if change.state == OPEN:
                signals.breaker_opened(provider.name)
            log.warning("breaker", provider=provider.name, model=provider.model, state=change.state, why=change.why)
