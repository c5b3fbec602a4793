"""Leases: how a worker shows that it lives, and learns what it still holds."""

from __future__ import annotations

from pipeline.schemas import Status
from pipeline.store.ledger import recover, workers
from tests.store.desk import Desk, Sql, answered, count, ending, new


def test_a_worker_learns_what_it_still_holds(desk: Desk) -> None:
    kept, gone, again = (desk.running(user=f"u{index}") for index in range(3))
    desk.end(answered(gone), ending(again, Status.retrying, delay=0))
    desk.claim_one(again.id, worker=desk.worker())
    held = [kept.id, gone.id, again.id]
    left = workers.renew(desk.database, desk.worker_id, lease=10, held=held, claimed_through={})
    assert left == {kept.id: kept.fence}


def test_a_renewed_lease_lasts_from_now(desk: Desk, sql: Sql) -> None:
    worker = desk.worker(lease=-5)
    workers.renew(desk.database, worker, lease=30, held=[], claimed_through={})
    left = sql.execute("SELECT extract(epoch FROM lease_until - now())::float8 FROM workers WHERE id = %s", [worker])
    assert 25 < left.fetchall()[0][0] <= 30


def test_a_released_lease_stays_over(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new())
    worker = desk.worker()
    workers.release(desk.database, worker)
    assert desk.claim(one.id, worker=worker) == []


def test_workers_dead_for_a_day_are_forgotten(desk: Desk, sql: Sql) -> None:
    old = desk.worker(lease=-90_000)
    desk.worker(lease=-3600)
    recover.forget_dead_workers(desk.database)
    assert count(sql, "workers") == 2
    assert count(sql, f"workers WHERE id = '{old}'") == 0
