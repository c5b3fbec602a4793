"""The pool's threads run Celery's own code around each task."""

from __future__ import annotations

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
