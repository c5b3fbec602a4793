"""News of calls that are over are brought to the broker, whatever it says."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.metrics import THREAD_FAULTS
from pipeline.providers.gate.machine import Ask, Result, Settlement
from pipeline.providers.gate.shared import AT_ONCE, SharedGate
from tests.servers import eventually


def failed(ticket: str) -> Settlement:
    return Settlement(0, ticket, 0, "timeout", void=False, second=0, more=0, closed_for=None)


def test_what_nobody_foresaw_does_not_end_the_news_of_calls() -> None:
    told: list[str] = []

    def run(asks: Sequence[Ask], settlements: Sequence[Settlement]) -> Result:
        told.extend(one.ticket for one in settlements)
        if told == ["a"]:
            raise ValueError("who could have known?")
        return Result((), ())

    gate = SharedGate(run, lambda *_: None)
    before = THREAD_FAULTS.labels("gate")._value.get()
    gate.settle(failed("a"), AT_ONCE)
    eventually(lambda: THREAD_FAULTS.labels("gate")._value.get() == before + 1)
    gate.settle(failed("b"), AT_ONCE)
    eventually(lambda: told == ["a", "b"])
    gate.stop()
