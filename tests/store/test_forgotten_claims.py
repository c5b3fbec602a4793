"""A claim is not awaited on the disk: what becomes of one that a crash of Postgres forgets."""

from __future__ import annotations

import os
import signal

import psycopg

from pipeline.local.postgres import Postgres
from pipeline.store.database import Database
from pipeline.store.ledger import outcomes
from tests.store.desk import Desk, answered, new, row, violations


def test_a_forgotten_claim_was_never_made_and_its_fence_is_not_given_again(own_postgres: Postgres) -> None:
    database = Database(own_postgres.url, size=1)
    desk = Desk(database)
    desk.accept(one := new())
    with psycopg.connect(own_postgres.url, autocommit=True) as sql:
        (writer,) = sql.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").fetchone() or ()
        os.kill(writer, signal.SIGSTOP)  # it would have the claim on the disk in a moment
        forgotten = desk.claim_one(one.id)
    own_postgres.kill()
    own_postgres.start()
    database.patiently(lambda: desk.accept(new("bob")))  # a first connection that is known to be good again

    with psycopg.connect(own_postgres.url, autocommit=True) as sql:
        assert row(sql, one.id, "status, attempts") == ("queued", 0)
        assert desk.end(answered(forgotten, "of a claim that is not known")).ids == set()
        again = desk.claim_one(one.id)
        assert again.fence > forgotten.fence
        assert desk.end(answered(forgotten, "too late")).ids == set()
        assert desk.end(answered(again, "in time")).ids == {one.id}
        assert [outcome.text for outcome in outcomes(database, [one.id])] == ["in time"]
        assert violations(sql) == []
    database.close()
