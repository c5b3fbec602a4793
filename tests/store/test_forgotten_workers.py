"""A worker that lives while the ledger has forgotten it: after a sleep of a day, or in a database that was restored."""

from __future__ import annotations

import os
import time
from functools import partial
from uuid import UUID

from pipeline import metrics
from pipeline.store.ledger import workers
from pipeline.worker.heart import Heart
from pipeline.worker.held import Control, Held
from tests.servers import eventually
from tests.store.desk import Desk, Sql, new


def heart_of(desk: Desk, worker: UUID, held: Held) -> Heart:
    register = partial(workers.register, desk.database, worker, name="worker", pid=os.getpid(), lease=60)
    return Heart(desk.database, worker, held, lease=60, beat_every=3, register=register)


def test_nobody_renews_the_lease_of_a_worker_that_is_not_known(desk: Desk, sql: Sql) -> None:
    assert workers.renew(desk.database, desk.worker_id, lease=60, held=[], claimed_through={}) == {}
    sql.execute("DELETE FROM workers")
    assert workers.renew(desk.database, desk.worker_id, lease=60, held=[], claimed_through={}) is None


def test_a_worker_that_was_forgotten_registers_with_its_next_heartbeat_and_claims_again(desk: Desk, sql: Sql) -> None:
    heart, before = heart_of(desk, desk.worker_id, Held()), metrics.FORGOTTEN_WORKERS._value.get()
    sql.execute("DELETE FROM workers")
    desk.accept(one := new())
    assert desk.claim(one.id) == []
    heart.beat()
    assert [claimed.id for claimed in desk.claim(one.id)] == [one.id]
    assert metrics.FORGOTTEN_WORKERS._value.get() == before + 1
    heart.beat()
    assert metrics.FORGOTTEN_WORKERS._value.get() == before + 1


def test_a_worker_that_was_forgotten_goes_on_with_what_is_still_its_own_and_with_nothing_else(
    desk: Desk, sql: Sql
) -> None:
    kept, lost = desk.running(user="ada"), desk.running(user="bob")
    held, reins, others = Held(), Control(time.monotonic() + 60), Control(time.monotonic() + 60)
    sql.execute("DELETE FROM workers")
    sql.execute("UPDATE requests SET fence = fence + 1 WHERE id = %s", [lost.id])
    with held.hold(kept.id, kept.fence, reins), held.hold(lost.id, lost.fence, others):
        heart_of(desk, desk.worker_id, held).beat()
        assert (reins.interrupted, others.interrupted) == (None, "claim lost")


def test_a_heart_beats_on_after_an_error_that_nobody_foresaw(desk: Desk, sql: Sql) -> None:
    tried: list[int] = []

    def register() -> None:
        tried.append(1)
        if len(tried) == 1:
            raise LookupError("nobody foresaw it")
        workers.register(desk.database, desk.worker_id, name="worker", pid=os.getpid(), lease=60)

    faults = metrics.THREAD_FAULTS.labels("heart")
    before = faults._value.get()
    sql.execute("DELETE FROM workers")
    heart = Heart(desk.database, desk.worker_id, Held(), lease=60, beat_every=0.05, register=register)
    heart.start()
    try:
        eventually(lambda: sql.execute("SELECT 1 FROM workers").fetchall(), 10)
    finally:
        heart.stop()
    assert faults._value.get() == before + 1
