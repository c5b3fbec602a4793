"""The pool's threads run Celery's own code around each task."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import metrics
from pipeline.pool import TaskPool
from tests.servers import eventually


def test_what_breaks_around_a_task_is_counted_and_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise LookupError("a secret")

    counted = metrics.THREAD_FAULTS.labels("pool")
    before = counted._value.get()
    pool = TaskPool(limit=1)
    try:
        pool.on_apply(broken, (), {}, callback=None, accept_callback=None)
        eventually(lambda: counted._value.get() == before + 1, 10, what="it is counted")
        eventually(lambda: caplog.messages == ["running a task broke in Celery itself: LookupError"], 10)
        assert pool.free_slots() == 1
    finally:
        pool.on_stop()


def test_whoever_found_no_free_slot_is_woken_when_there_is_one_and_nobody_is_woken_otherwise() -> None:
    woken: list[Any] = []
    gate = threading.Event()
    pool = TaskPool(limit=1)
    pool.register_with_event_loop(SimpleNamespace(call_soon=woken.append))

    def apply(target: Any, *args: float) -> None:
        pool.on_apply(target, args, {}, callback=lambda _: None, accept_callback=None)

    try:
        apply(gate.wait, 30)
        assert pool.free_slots() == 0
        assert not woken
        gate.set()
        eventually(lambda: len(woken) == 1, 10, what="the event loop is woken")
        apply(gate.wait)
        eventually(lambda: pool._unfinished == 0, 10)
        assert len(woken) == 1
    finally:
        gate.set()
        pool.on_stop()
