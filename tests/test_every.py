"""The thread that does one thing every so often outlives what goes wrong in it."""

from __future__ import annotations

from pipeline import metrics
from pipeline.worker.every import Every
from tests.servers import eventually


def test_an_error_that_nobody_foresaw_is_counted_and_the_next_call_is_made() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(len(calls))
        raise LookupError("nobody foresaw it")

    faults = metrics.THREAD_FAULTS.labels("failing")
    every = Every(0.01, fail, name="failing")
    every.start()
    try:
        eventually(lambda: len(calls) > 2, 10)
    finally:
        every.stop()
    assert faults._value.get() == len(calls)
