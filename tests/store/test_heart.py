"""How steadily a worker lives: what recovery relies on, and what its claims need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from pipeline.store.database import Connection, Database
from pipeline.store.ledger import workers
from pipeline.worker.heart import Heart
from pipeline.worker.held import Held
from tests.servers import eventually
from tests.store.desk import Desk, Sql, new

LEFT = "SELECT extract(epoch FROM lease_until - now())::float8 FROM workers"


def heart_of(desk: Desk, *, lease: float, beat_every: float, database: Database | None = None) -> Heart:
    register = partial(workers.register, desk.database, desk.worker_id, name="worker", pid=os.getpid(), lease=lease)
    given = database or desk.database
    return Heart(given, desk.worker_id, Held(), lease=lease, beat_every=beat_every, register=register)


def lease_left(sql: Sql) -> float:
    [(seconds,)] = sql.execute(LEFT).fetchall()
    return float(seconds)


def test_a_worker_whose_lease_is_two_heartbeats_long_is_steady(desk: Desk) -> None:
    heart = heart_of(desk, lease=2.0, beat_every=1.0)
    heart.start()
    try:
        eventually(lambda: heart.steady_for > 4.0, what="two leases without a late beat")
    finally:
        heart.stop()


class Away(Database):
    """Postgres is away for the first questions."""

    left = 2

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        self.left -= 1
        if self.left >= 0:
            raise psycopg.OperationalError("away")
        with super().connection() as connection:
            yield connection


def test_a_beat_that_postgres_did_not_take_is_tried_again_at_once(desk: Desk, sql: Sql, ledger_url: str) -> None:
    sql.execute("UPDATE workers SET lease_until = now()")
    database = Away(ledger_url, size=1)
    heart = heart_of(desk, lease=600, beat_every=200, database=database)
    heart.start()
    try:
        eventually(lambda: lease_left(sql) > 500, 20, what="the third beat, long before its time")
    finally:
        heart.stop()
        database.close()


def test_whoever_lacks_a_lease_can_have_a_beat_at_once(desk: Desk, sql: Sql) -> None:
    sql.execute("UPDATE workers SET lease_until = now()")
    desk.accept(one := new())
    assert desk.claim(one.id) == []
    heart_of(desk, lease=600, beat_every=200).revive()
    assert [claimed.id for claimed in desk.claim(one.id)] == [one.id]


@pytest.mark.parametrize(("lease", "steady"), [(0.3, False), (600.0, True)])
def test_without_beats_nobody_is_steady_for_longer_than_a_lease_lasts(
    desk: Desk, lease: float, *, steady: bool
) -> None:
    heart = heart_of(desk, lease=lease, beat_every=lease / 3)
    if steady:
        eventually(lambda: heart.steady_for > 0.5)
    else:
        eventually(lambda: heart.steady_for == 0.0)
