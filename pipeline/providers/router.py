"""The router: a provider that is made of others. It picks one for each call, and another where that one fails."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import Deferred, ProviderError
from pipeline.providers.breaker_state import Refusal
from pipeline.providers.budget import Budgets
from pipeline.providers.contract import Anew, CallControl, CallRequest, Completion, Provider
from pipeline.providers.failures import Failures
from pipeline.providers.gate.gate import Admission, Gate, Ticket, Verdict
from pipeline.providers.gate.machine import Offer
from pipeline.providers.measured import Measured, input_tokens
from pipeline.providers.progress import seconds_for
from pipeline.providers.room import MOMENT, Room
from pipeline.providers.routing import Candidate, Draw, helpful, ordered
from pipeline.providers.turns import Turns
from pipeline.providers.verdict import Granted, verdict_of
from pipeline.retry import RetryPolicy
from pipeline.schemas import Call
from pipeline.settings import Settings

#: Seconds that a call waits for its turn where it is, since putting it off would take as long.
WORTH_WAITING = 0.25

#: Seconds after a call's time-out at which its slot ends by itself: the call is told to be over sooner.
GRACE = 2.0

#: Seconds between two looks at whether a waiting call was interrupted.
SLICE = 0.05


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidate that a call goes to, by which ticket, and why."""

    candidate: Candidate
    ticket: Ticket
    choice: str


class Router:
    """Safe to use from any thread. `providers` stand in the order of the settings."""

    name = "router"
    model = "any"

    def __init__(
        self,
        providers: Sequence[Provider],
        settings: Settings,
        gate: Gate,
        budgets: Budgets,
        *,
        draw: Draw = random.random,
    ) -> None:
        self._providers = providers
        self._configured = settings.configured_providers
        self._settings = settings
        self._policy = RetryPolicy.from_settings(settings)
        self._gate = gate
        self._budgets = budgets
        self._draw = draw
        self._turns = Turns()
        # a quarter of the slots at most waits: the others are for calls that can be made, and for other agents
        self._room = Room(settings.worker_slots // 4)
        self._measured = [Measured() for _ in providers]

    def call(
        self,
        request: CallRequest,
        *,
        on_text: Callable[[str], None],
        on_call: Callable[[Call], None],
        control: CallControl,
    ) -> Completion:
        """As Provider.call. What fails where another provider may help is tried there, until the attempt is over."""
        left = self._candidates(request)
        text = _Text(on_text)
        failures = Failures(self._policy)
        while left:
            chosen = self._choose(left, seconds_for(self._settings, request.attempt), control, failures)
            if chosen is None:
                break
            left.remove(chosen.candidate)
            try:
                return self._ask(chosen, request, text, on_call, control)
            except ProviderError as fault:
                failures.add(chosen.candidate, fault)
                left = helpful(fault, chosen.candidate, left) if control.seconds_left > 0 else []
            text.begin_anew()
        raise failures.take()

    def close(self) -> None:
        """Let go of what was told and not yet passed on. The providers are their registry's to close."""
        self._gate.stop()

    def _candidates(self, request: CallRequest) -> list[Candidate]:
        given = input_tokens(request)
        found = [
            Candidate(
                place,
                one,
                measured.latency,
                (given, measured.output(request)),
                failing=measured.failing,
                exhausted=measured.exhausted,
            )
            for place, (one, measured) in enumerate(zip(self._configured, self._measured, strict=True))
        ]
        return ordered(found, self._settings.routing, self._settings.region, self._draw)

    def _choose(
        self, left: Sequence[Candidate], timeout: float, control: CallControl, failures: Failures
    ) -> Chosen | None:
        """The first that may be taken; None where there is none and a failure to be told. Raises Deferred, or
        ProviderError where every budget is spent."""
        asked = self._solvent(left)
        broke = [f"{one.name}: budget" for one in left if one not in asked]
        seconds = min(timeout, control.seconds_left) + GRACE
        offers = [Offer(one.place, sum(one.tokens), seconds) for one in asked]
        while asked:
            control.check()
            admission = self._gate.admit(offers)
            if admission.ticket is None and not failures.retried:
                admission = self._patiently(asked, offers, admission, control)
            why_not = [f"{one.name}: {no.why}" for one, no in zip(asked, admission.refusals, strict=False)]
            if admission.ticket is not None:
                place = admission.ticket.offer.provider
                candidate = next(one for one in asked if one.place == place)
                return Chosen(candidate, admission.ticket, self._explained([*failures.told, *broke, *why_not]))
            if failures.retried:
                return None
            soonest, no = _soonest(asked, admission)
            if no.wait > WORTH_WAITING:
                raise Deferred(no.why, self._turns.next(soonest, no.why, no.wait))
            _pause(no.wait, control)
        if failures.any:
            return None
        raise ProviderError("budget", provider=left[0].name, detail="the day's budget is spent")

    def _solvent(self, left: Sequence[Candidate]) -> list[Candidate]:
        """Those with money left. One that says that its account is exhausted is asked where there is no other: it would
        end a request that another can take in a moment."""
        solvent = [one for one in left if not self._budgets.is_spent(one.name)]
        return [one for one in solvent if not one.exhausted] or solvent

    def _patiently(
        self, solvent: Sequence[Candidate], offers: Sequence[Offer], admission: Admission, control: CallControl
    ) -> Admission:
        """Where a slot is what all wait for, wait for it in place, if there is a seat. Returns the last answer."""
        until = time.monotonic() + MOMENT
        soonest, no = _soonest(solvent, admission)
        if no.why != "concurrency":
            return admission
        with self._room.seat(soonest) as seated:
            while seated and no.why == "concurrency" and self._room.wait(soonest, control, until):
                admission = self._gate.admit(offers)
                if admission.ticket is not None:
                    break
                _, no = _soonest(solvent, admission)
        return admission

    def _learn(self, place: int, call: Call, verdict: Verdict) -> None:
        if call.reason is None:
            self._measured[place].learn(call)
        elif verdict.failure is not None or call.reason == "budget":
            self._measured[place].fail(call.reason)

    def _explained(self, instead_of: Sequence[str]) -> str:
        """Why a provider was chosen, in the words of the call's row."""
        near = f", region {self._settings.region}" if self._settings.region else ""
        return "; ".join([f"by {self._settings.routing}{near}", *instead_of])

    def _ask(
        self, chosen: Chosen, request: CallRequest, text: _Text, on_call: Callable[[Call], None], control: CallControl
    ) -> Completion:
        verdict = Verdict(void=True)  # stays, should the call break in a way that nobody foresaw
        records: list[Call] = []
        error: ProviderError | None = None
        granted = Granted(seconds_for(self._settings, request.attempt), self._settings.provider_first_token_timeout)
        try:
            provider = self._providers[chosen.candidate.place]
            return provider.call(request, on_text=text, on_call=records.append, control=control)
        except ProviderError as fault:
            error = fault
            raise
        finally:
            for call in records:
                verdict = verdict_of(call, error, granted, interrupted=control.seconds_left <= 0)
                self._learn(chosen.candidate.place, call, verdict)
            self._gate.settle(chosen.ticket, verdict)
            self._room.left(chosen.candidate.place)
            for call in records:
                on_call(replace(call, choice=chosen.choice))


class _Text:
    """Hands on a call's text; that of the next provider begins anew, if the one before it was heard."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._heard = self._anew = False

    def __call__(self, text: str) -> None:
        self._on_text(Anew(text) if self._anew else text)
        self._heard, self._anew = True, False

    def begin_anew(self) -> None:
        """What comes next is another provider's."""
        self._anew = self._heard


def _soonest(candidates: Sequence[Candidate], admission: Admission) -> tuple[Candidate, Refusal]:
    """Which of the candidates, all refused, may be taken first, and why it may not be now."""
    return min(zip(candidates, admission.refusals, strict=True), key=lambda pair: pair[1].wait)


def _pause(seconds: float, control: CallControl) -> None:
    """Raises AttemptInterrupted."""
    until = time.monotonic() + seconds
    while (rest := until - time.monotonic()) > 0:
        control.check()
        time.sleep(min(rest, SLICE))
