"""Calls that are ended: by another thread, or by a time-out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.errors import AttemptInterrupted
from pipeline.providers.simulator import Fixed, Simulator
from pipeline.worker.held import Control
from tests.providers.conftest import Caller, ConnectTo
from tests.servers import quickest

#: Seconds within which an interrupted call has ended, at least once of some times: a busy machine has its pauses.
PROMPT = 0.5

#: Seconds that a call has beyond its limit, on a busy machine. The next limit is further off.
BUSY = 4.0


def interrupted(caller: Caller, ready: threading.Event) -> float:
    """Interrupt the call from another thread once `ready`. Returns the seconds that it took to end."""
    control = Control(time.monotonic() + 30)
    at: list[float] = []

    def pull() -> None:
        assert ready.wait(60)
        at.append(time.monotonic())
        control.interrupt("cancelled")

    puller = threading.Thread(target=pull)
    puller.start()
    with pytest.raises(AttemptInterrupted, match="cancelled"):
        caller.call(control=control)
    ended = time.monotonic()
    puller.join()
    assert caller.calls.pop().reason == "interrupted"
    assert not caller.calls
    return ended - at[0]


@contextmanager
def set_when(condition: threading.Event, simulator: Simulator) -> Iterator[None]:
    """Sets the event once the simulator has a request."""
    over = threading.Event()

    def look() -> None:
        while simulator.counts.arrived == 0 and not over.wait(0.01):
            pass
        condition.set()

    looker = threading.Thread(target=look)
    looker.start()
    yield
    over.set()
    looker.join()


def test_a_call_that_waits_for_headers_is_interrupted(simulator: Simulator, caller: Caller) -> None:
    def once() -> float:
        simulator.reset_counts()
        simulator.script("hang")
        arrived = threading.Event()
        with set_when(arrived, simulator):
            return interrupted(caller, arrived)

    assert quickest(once, PROMPT) < PROMPT


def test_a_call_in_the_middle_of_its_answer_is_interrupted(simulator: Simulator, connect_to: ConnectTo) -> None:
    simulator.script(tokens_per_second=1)

    def once() -> float:
        caller, begun = connect_to(simulator.url), threading.Event()

        class Texts(list[str]):
            def append(self, text: str) -> None:
                super().append(text)
                begun.set()

        caller.texts = Texts()
        took = interrupted(caller, begun)
        assert caller.texts
        return took

    assert quickest(once, PROMPT) < PROMPT


def test_a_call_that_always_receives_something_is_interrupted(simulator: Simulator, caller: Caller) -> None:
    simulator.script(tokens_per_second=50)

    def once() -> float:
        simulator.reset_counts()
        arrived = threading.Event()
        with set_when(arrived, simulator):
            return interrupted(caller, arrived)

    assert quickest(once, PROMPT) < PROMPT


def test_a_call_that_waits_for_a_connection_is_interrupted(connect_to: ConnectTo, full_port: int) -> None:
    caller = connect_to(f"http://127.0.0.1:{full_port}/v1", provider_connect_timeout=20)

    def once() -> float:
        waiting = threading.Event()
        ready = threading.Timer(0.2, waiting.set)
        ready.start()
        took = interrupted(caller, waiting)
        ready.join()
        return took

    assert quickest(once, PROMPT) < PROMPT


def test_an_interrupted_attempt_makes_no_call(simulator: Simulator, caller: Caller) -> None:
    control = Control(time.monotonic() + 30)
    control.interrupt("taken over")
    with pytest.raises(AttemptInterrupted, match="taken over"):
        caller.call(control=control)
    assert simulator.counts.arrived == 0


def test_the_connection_of_an_interrupted_call_is_not_used_again(simulator: Simulator, caller: Caller) -> None:
    simulator.script("hang")
    arrived = threading.Event()
    with set_when(arrived, simulator):
        interrupted(caller, arrived)
    assert "".join(caller.texts) == ""
    assert caller.call().reply.text == "".join(caller.texts)


def test_a_call_without_a_first_token_times_out(simulator: Simulator, connect_to: ConnectTo) -> None:
    simulator.script("hang")
    caller = connect_to(simulator.url, provider_first_token_timeout=0.4)
    began = time.monotonic()
    assert caller.failure().reason == "timeout"
    assert 0.3 < time.monotonic() - began < BUSY
    assert caller.calls[0].first_token_at is None


def test_the_first_token_s_limit_ends_with_the_first_token(simulator: Simulator, connect_to: ConnectTo) -> None:
    simulator.script(tokens_per_second=40)
    caller = connect_to(simulator.url, provider_first_token_timeout=0.3)
    caller.call()
    (call,) = caller.calls
    assert call.first_token_at is not None
    assert (call.finished_at - call.started_at).total_seconds() > 0.3


def test_a_call_that_takes_too_long_times_out_in_the_middle(simulator: Simulator, connect_to: ConnectTo) -> None:
    simulator.script(tokens_per_second=5)
    caller = connect_to(simulator.url, provider_timeout=0.5)
    began = time.monotonic()
    assert caller.failure().reason == "timeout"
    assert 0.4 < time.monotonic() - began < BUSY
    assert caller.texts
    assert caller.calls[0].status_code == 200


def test_each_attempt_s_call_may_take_longer_up_to_the_cap(simulator: Simulator, connect_to: ConnectTo) -> None:
    simulator.script(latency=Fixed(seconds=0.45))
    caller = connect_to(simulator.url, provider_timeout=0.3, provider_timeout_max=1.5)
    assert caller.failure(attempt=1).reason == "timeout"
    caller.call(attempt=5)
    simulator.script(latency=Fixed(seconds=30))
    began = time.monotonic()
    assert caller.failure(attempt=10_000).reason == "timeout"
    assert time.monotonic() - began < BUSY


def test_a_call_is_cut_to_what_is_left_of_its_attempt(simulator: Simulator, caller: Caller) -> None:
    simulator.script("hang")
    began = time.monotonic()
    assert caller.failure(control=Control(began + 0.4)).reason == "timeout"
    assert time.monotonic() - began < BUSY


def test_a_provider_that_cannot_be_connected_to_times_out(connect_to: ConnectTo, full_port: int) -> None:
    caller = connect_to(f"http://127.0.0.1:{full_port}/v1", provider_connect_timeout=0.4)
    began = time.monotonic()
    assert caller.failure().reason == "timeout"
    assert time.monotonic() - began < BUSY


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose backlog is full: connecting to it never ends."""
    fillers = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield listener.getsockname()[1]
        for filler in fillers:
            filler.close()
