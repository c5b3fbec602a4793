"""The gate's script in the broker and its machine in Python are one machine."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from pipeline.broker import connect
from pipeline.providers.breaker_state import ANY, Breaker, Rules
from pipeline.providers.gate.machine import Ask, Machine, Message, Offer, Result, Settlement
from pipeline.providers.gate.script import Script, breaker_key
from pipeline.providers.limits import Limits
from pipeline.settings import ProviderSettings
from tests.servers import Broker

RULES = Rules(rate=0.5, min_calls=4, window=20.0, open_seconds=5.0, trials=2, ramp=4.0)
#: What is set changes while the broker goes on.
CHANGED = (RULES, replace(RULES, rate=0.95, window=24.0), replace(RULES, window=7.0))
LIMITS = (Limits(), Limits(concurrency=3), Limits(requests=8, tokens=900))
PROVIDERS = [ProviderSettings(name=f"p{n}", base_url="http://127.0.0.1:1/v1", model="m") for n in range(3)]


#: Seconds from one message to the next; now and then the broker's clock is set back.
STEPS = [0.0, 0.125, 0.5, 2.0] * 10 + [-6.0]


class Players:
    """Callers who ask and tell at random, the same for both machines."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.under_way: list[Settlement] = []
        self._tickets = 0
        self.rules = RULES

    def message(self) -> Message:
        over = [self.under_way.pop(self.random.randrange(len(self.under_way))) for _ in range(self._some())]
        asks = [self._ask() for _ in range(self.random.randrange(3))]
        resets = (self.random.randrange(3),) if self.random.random() < 0.02 else ()
        return Message(self.rules, LIMITS, tuple(asks), tuple(map(self._went, over)), resets)

    def hear(self, message: Message, result: Result) -> None:
        for ask, reply in zip(message.asks, result.replies, strict=True):
            if reply.taken is not None:
                provider = ask.offers[reply.taken].provider
                self.under_way.append(
                    Settlement(
                        provider,
                        ask.ticket,
                        reply.epoch,
                        None,
                        void=False,
                        second=reply.second,
                        more=0,
                        closed_for=None,
                    )
                )

    def _some(self) -> int:
        return min(len(self.under_way), self.random.randrange(4))

    def _ask(self) -> Ask:
        self._tickets += 1
        places = self.random.sample(range(3), self.random.randint(1, 3))
        offers = tuple(Offer(place, self.random.randrange(1, 300), self.random.choice([2.0, 30.0])) for place in places)
        return Ask(f"t{self._tickets}", self.random.random(), offers)

    def _went(self, one: Settlement) -> Settlement:
        failure = self.random.choice([None, "timeout", "http_503"])
        closed_for = self.random.choice([1.5, 3.0]) if self.random.random() < 0.05 else None
        void = failure is None and self.random.random() < 0.2
        epoch = ANY if void and self.random.random() < 0.5 else one.epoch
        return replace(
            one, epoch=epoch, failure=failure, void=void, more=self.random.randrange(-100, 100), closed_for=closed_for
        )


def rounded(result: Result) -> Result:
    """The script's numbers have 14 digits."""
    replies = [
        replace(one, refusals=tuple(replace(no, wait=round(no.wait, 3)) for no in one.refusals))
        for one in result.replies
    ]
    return replace(result, replies=tuple(replies))


@pytest.mark.parametrize("seed", range(12))
def test_both_machines_say_the_same_to_the_same(broker: Broker, seed: int) -> None:
    client = connect(broker.url, 5)
    script, machine, players = Script(client, PROVIDERS), Machine(3), Players(seed)
    now, states = 1_764_000_000.0, set()
    for number in range(500):
        players.rules = CHANGED[number // 50 % len(CHANGED)]
        now = round(now + players.random.choice(STEPS), 3)
        message = players.message()
        said, result = script.run(message, now), machine.run(message, now)
        assert rounded(said) == rounded(result)
        players.hear(message, result)
        states |= {one.state for one in result.changes}
    assert states == {"open", "half_open", "closed"}, "the walk came through every state"
    for place, provider in enumerate(PROVIDERS):
        raw = client.get(breaker_key(provider))
        kept = Breaker.of(json.loads(raw)) if raw else Breaker()
        meant = machine.breakers[place]
        assert (kept.state, kept.epoch, kept.why) == (meant.state, meant.epoch, meant.why)
        assert (kept.in_a_row, kept.good) == (meant.in_a_row, meant.good)
    client.close()
