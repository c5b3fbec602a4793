"""Which requests a fault would touch, and which of them run again: asked of a real ledger."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

from pipeline.schemas import Status
from pipeline.store import archives
from pipeline.store.archives import Rules
from pipeline.store.database import Database
from stress.chaos.fault import Strike, Touched
from stress.chaos.ledger import Ledger
from tests.store.desk import Desk, Sql, answered, ending, new


def strike(touched: Touched, *, anew: bool = False) -> Strike:
    return Strike.at(0.0, touched, anew=anew)


def test_what_a_process_runs_and_what_lies_in_the_broker_are_told_apart_and_others_requests_are_not_ours(
    desk: Desk, store: Database
) -> None:
    running = desk.running(user="run-1")
    queued, behind, others = new("run-2"), new("run-2"), new("another")
    desk.accept(queued, behind, others)
    ledger = Ledger(store, "run")
    assert ledger.run_by([os.getpid()]) == {str(running.id): running.fence}
    assert ledger.run_by([1, None]) == {}
    assert ledger.at_broker() == {str(queued.id): 0}
    assert ledger.unfinished().keys() == {str(running.id), str(queued.id), str(behind.id)}


def test_what_was_queued_waits_until_it_runs_or_has_ended(desk: Desk, store: Database) -> None:
    one, two = new("run-1"), new("run-2")
    desk.accept(one, two)
    ledger = Ledger(store, "run")
    struck = strike({str(one.id): 0, str(two.id): 0})
    assert ledger.waiting(struck) == 2
    desk.claim_one(one.id)
    assert ledger.waiting(struck) == 1
    desk.end(answered(desk.claim_one(two.id)))
    assert ledger.waiting(struck) == 0
    assert ledger.statuses() == {str(one.id): "running", str(two.id): "succeeded"}


def test_what_a_killed_worker_ran_waits_until_another_runs_it_though_the_dead_ones_lease_still_runs(
    desk: Desk, store: Database
) -> None:
    claimed = desk.running(user="run-1")
    ledger = Ledger(store, "run")
    touched = ledger.run_by([os.getpid()])
    assert ledger.waiting(strike(touched)) == 0
    assert ledger.waiting(strike(touched, anew=True)) == 1
    desk.end(ending(claimed, Status.retrying, reason="worker_lost", delay=0.0))
    assert ledger.waiting(strike(touched, anew=True)) == 1
    desk.claim_one(claimed.id)
    assert ledger.waiting(strike(touched, anew=True)) == 0


def test_what_runs_on_a_worker_whose_lease_has_ended_does_not_run(desk: Desk, store: Database, sql: Sql) -> None:
    desk.running(user="run-1")
    ledger = Ledger(store, "run")
    touched = ledger.unfinished()
    sql.execute("UPDATE workers SET lease_until = now()")
    assert ledger.waiting(strike(touched)) == 1


def test_a_storm_touches_what_began_meanwhile_though_it_has_ended_and_nothing_that_ran_before(
    desk: Desk, store: Database
) -> None:
    desk.running(user="run-1")
    ledger = Ledger(store, "run")
    since = ledger.now()
    ended = desk.running(user="run-2")
    desk.end(answered(ended))
    assert ledger.begun_since(since).keys() == {str(ended.id)}


def test_what_cold_storage_refused_and_whose_writers_wait_is_told_apart(desk: Desk, store: Database, sql: Sql) -> None:
    desk.converse(2, user="run-1", conversation="refused")
    desk.converse(2, user="run-1", conversation="held up")
    desk.converse(2, user="run-1", conversation="only just begun")
    ledger, now = Ledger(store, "run"), Ledger(store, "run").now()
    sessions = [row[0] for row in sql.execute("SELECT id FROM sessions ORDER BY id")]
    begun = [now - timedelta(seconds=5), now - timedelta(seconds=5), now]
    found = [replace(one, archived_at=at) for one, at in zip(archives.candidates(store, sessions), begun, strict=True)]
    rules = Rules(most_hot=1, threshold=1, window=1, age=3600, idle=3600)
    refused, *_ = archives.take(store, [(one, f"object {one.session_id}") for one in found], rules, whole=True)
    archives.failed(store, refused.id, "OSError")
    earlier = now - timedelta(seconds=9)
    assert (ledger.refused_since(earlier), ledger.held_up_since(earlier)) == (1, 1)
    assert (ledger.refused_since(now), ledger.held_up_since(now)) == (0, 0)
    archives.failed(store, refused.id, "SessionBusy")
    assert ledger.refused_since(earlier) == 0, "that was no fault of storage"


def test_while_postgres_is_away_nobody_knows_who_waits() -> None:
    nowhere = Database("postgresql:///nothing?host=/nowhere", wait=0.2)
    try:
        assert Ledger(nowhere, "run").waiting(strike({})) is None
    finally:
        nowhere.close()
