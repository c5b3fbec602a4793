from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.errors import ProviderError
from pipeline.providers.contract import CallControl, CallRequest, Completion
from pipeline.providers.openai_compatible import OpenAICompatible
from pipeline.providers.simulator import Simulator
from pipeline.schemas import Call, Message
from pipeline.settings import ProviderSettings, Settings
from pipeline.worker.held import Control
from tests.providers.routed import Routed, routed
from tests.servers import Broker

#: Said by the user in every call, and by the simulator in every error: no error of ours may hold it.
SECRET = "the-words-of-the-user"


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Iterator[Simulator]:
    running_simulator.script()
    running_simulator.reset_counts()
    yield running_simulator
    running_simulator.script()


@dataclass
class Caller:
    """A provider, and what came of calling it."""

    provider: OpenAICompatible
    texts: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def call(self, *, control: CallControl | None = None, **request: Any) -> Completion:
        return self.provider.call(
            CallRequest(**{"messages": [Message("user", SECRET)], **request}),
            on_text=self.texts.append,
            on_call=self.calls.append,
            control=control or Control(time.monotonic() + 30),
        )

    def failure(self, **request: Any) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            self.call(**request)
        return caught.value


ConnectTo = Callable[..., Caller]


@pytest.fixture
def connect_to() -> Iterator[ConnectTo]:
    """Makes callers of a base URL; keywords are settings, `prices` are input and output."""
    made: list[OpenAICompatible] = []

    def make(base_url: str, prices: tuple[float, float] = (0, 0), **settings: Any) -> Caller:
        config = ProviderSettings(
            name="some", base_url=base_url, model="a-model", input_price=prices[0], output_price=prices[1]
        )
        made.append(OpenAICompatible(config, Settings(**settings)))
        return Caller(made[-1])

    yield make
    for provider in made:
        provider.close()


@pytest.fixture
def caller(simulator: Simulator, connect_to: ConnectTo) -> Caller:
    return connect_to(simulator.url)


Route = Callable[..., Routed]


@pytest.fixture(scope="session")
def two_running() -> Iterator[list[Simulator]]:
    with Simulator() as first, Simulator() as second:
        yield [first, second]


@pytest.fixture
def simulators(two_running: list[Simulator]) -> list[Simulator]:
    for one in two_running:
        one.script()
        one.reset_counts()
    return two_running


@pytest.fixture
def route(broker: Broker, simulators: list[Simulator]) -> Iterator[Route]:
    """`route(...)` is a router over both simulators; keywords are those of `routed`."""
    made: list[Routed] = []

    def make(count: int = 2, **options: Any) -> Routed:
        made.append(routed(broker.url, simulators[:count], **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
