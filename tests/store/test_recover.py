"""Recovery's questions: who is dead, what ran too long, what is late, what the broker lost."""

from __future__ import annotations

import re
from datetime import datetime
from uuid import UUID

import pytest

from pipeline.schemas import Priority, Status
from pipeline.signals.processes import RESCUES
from pipeline.store.database import Database
from pipeline.store.ledger import recover, workers
from tests.store.desk import Desk, Sql, answered, ending, new, row, violations

#: Seconds.
GRACE = 5.0
PATIENCE = 3.0


def stranded(desk: Desk) -> dict[UUID, str]:
    return {one.id: one.why for one in recover.stranded(desk.database, patience=PATIENCE)}


def lost(desk: Desk, *empty: Priority) -> list[UUID]:
    return [one.id for one in recover.lost(desk.database, grace=GRACE, empty_queues=empty)]


def published_ago(sql: Sql, seconds: float, id_: UUID) -> None:
    """Let it have become due, and have been published, that long ago."""
    sql.execute(
        "UPDATE requests SET due_at = now() - %(s)s * interval '1 second', "
        "published_at = now() - %(s)s * interval '1 second' WHERE id = %(id)s",
        {"s": seconds, "id": id_},
    )


def claimed_through(desk: Desk, sql: Sql, seconds_ago: float, queue: Priority = Priority.normal) -> None:
    """Let the worker have claimed what was published then."""
    found = sql.execute("SELECT now() - %s * interval '1 second'", [seconds_ago]).fetchone()
    assert found is not None
    assert isinstance(found[0], datetime)
    workers.renew(desk.database, desk.worker_id, lease=60, held=[], claimed_through={queue: found[0]})


# -- who cannot go on -------------------------------------------------------------------------------------------------


def test_nobody_is_stranded_while_all_is_well(desk: Desk) -> None:
    desk.running()
    desk.accept(new(), new("bob"))
    desk.end(ending(desk.running(user="eve"), Status.retrying, delay=600))
    assert stranded(desk) == {}


def test_what_can_strand_a_request_has_a_series_before_it_is_counted() -> None:
    assert set(re.findall(r"(?:THEN|ELSE) '(\w+)'", recover.STRANDED)) == {*RESCUES} - {"message_lost", "due", "aged"}


def test_what_a_dead_worker_ran_is_stranded(desk: Desk, sql: Sql) -> None:
    desk.running(user="bob")
    dying = desk.worker(lease=60)
    desk.accept(one := new())
    claimed = desk.claim_one(one.id, worker=dying)
    assert stranded(desk) == {}
    workers.release(desk.database, dying)
    (found,) = recover.stranded(desk.database, patience=PATIENCE)
    assert (found.id, found.fence, found.why, found.late) == (one.id, claimed.fence, "worker_lost", False)
    assert (found.user_id, found.session_id, found.position) == ("ada", claimed.session_id, 1)
    assert (found.attempts, found.max_attempts) == (1, 3)


def test_what_a_worker_ran_that_nobody_knows_any_more_is_stranded(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    sql.execute("DELETE FROM workers")
    assert stranded(desk) == {claimed.id: "worker_lost"}


def test_what_overruns_is_its_workers_own_to_stop_for_a_while(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    sql.execute("UPDATE requests SET run_until = now() - interval '1 second'")
    assert stranded(desk) == {}
    sql.execute("UPDATE requests SET run_until = now() - interval '4 seconds'")
    assert stranded(desk) == {claimed.id: "overran"}


def test_what_waits_past_its_deadline_has_expired_wherever_it_stands(desk: Desk, sql: Sql) -> None:
    first, second, running = new(), new(), desk.running(user="bob")
    retrying = desk.running(user="eve")
    desk.end(ending(retrying, Status.retrying, delay=600))
    desk.accept(first, second)
    sql.execute("UPDATE requests SET deadline = now(), run_until = now()")
    assert stranded(desk) == {first.id: "expired", second.id: "expired", retrying.id: "expired"}
    assert row(sql, running.id, "status") == ("running",)


def test_a_dead_workers_request_past_its_deadline_is_late(desk: Desk, sql: Sql) -> None:
    desk.running()
    sql.execute("UPDATE requests SET deadline = now()")
    workers.release(desk.database, desk.worker_id)
    (found,) = recover.stranded(desk.database, patience=PATIENCE)
    assert (found.why, found.late) == ("worker_lost", True)


def test_what_has_ended_is_not_stranded(desk: Desk, sql: Sql) -> None:
    desk.end(answered(desk.running()))
    sql.execute("UPDATE requests SET deadline = now() - interval '1 hour'")
    workers.release(desk.database, desk.worker_id)
    assert stranded(desk) == {}


# -- what the broker lost ---------------------------------------------------------------------------------------------


def test_a_healthy_backlog_is_never_published_twice(desk: Desk, sql: Sql) -> None:
    """Five thousand wait, the oldest an hour; a thousand have been claimed in their order; the queue is not empty."""
    batch = [new(f"u{index}") for index in range(5000)]
    for start in range(0, 5000, 500):
        assert len(desk.accept(*batch[start : start + 500])) == 500
    sql.execute(
        "UPDATE requests AS r SET published_at = now() - interval '1 hour' + n * interval '100 ms', "
        "due_at = now() - interval '1 hour' "
        "FROM (SELECT id, row_number() OVER (ORDER BY accepted_at, user_id) AS n FROM requests) AS o WHERE o.id = r.id"
    )
    assert lost(desk) == []
    oldest = sql.execute("SELECT id FROM requests ORDER BY published_at LIMIT 1000").fetchall()
    claims = desk.claim(*(id_ for (id_,) in oldest))
    newest: dict[int, datetime] = {Priority.normal: max(one.published_at for one in claims)}
    workers.renew(desk.database, desk.worker_id, lease=60, held=[], claimed_through=newest)
    assert len(claims) == 1000
    assert lost(desk) == []
    assert lost(desk, Priority.urgent, Priority.batch) == []
    overtaken = sql.execute("SELECT id FROM requests WHERE status = 'queued' LIMIT 2").fetchall()
    for (id_,) in overtaken:
        published_ago(sql, 3600, id_)
    assert sorted(lost(desk)) == sorted(id_ for (id_,) in overtaken)
    assert lost(desk) == []  # they have been published again


def test_what_was_overtaken_by_more_than_the_grace_is_lost(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new())
    published_ago(sql, 100, one.id)
    claimed_through(desk, sql, 96)
    assert lost(desk) == []
    claimed_through(desk, sql, 94)
    assert lost(desk) == [one.id]
    assert row(sql, one.id, "publications, published_at > now() - interval '1 minute'") == (2, True)


def test_a_queue_is_not_overtaken_by_another(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new())
    published_ago(sql, 100, one.id)
    claimed_through(desk, sql, 1, Priority.urgent)
    claimed_through(desk, sql, 1, Priority.batch)
    assert lost(desk) == []


def test_what_a_dead_worker_claimed_counts_too(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new())
    published_ago(sql, 100, one.id)
    claimed_through(desk, sql, 10)
    workers.release(desk.database, desk.worker_id)
    assert lost(desk) == [one.id]


def test_an_empty_queue_has_lost_what_should_be_in_it_after_the_grace_only(desk: Desk, sql: Sql) -> None:
    fresh, old, elsewhere = new(), new("bob"), new("eve", priority=Priority.urgent)
    desk.accept(fresh, old, elsewhere)
    published_ago(sql, 4, fresh.id)
    published_ago(sql, 6, old.id)
    published_ago(sql, 6, elsewhere.id)
    assert lost(desk, Priority.normal) == [old.id]
    assert lost(desk, Priority.normal) == []


def test_what_runs_or_waits_for_a_place_is_not_lost(desk: Desk, sql: Sql) -> None:
    for index in range(3):
        desk.running(conversation=f"c{index}")
    desk.accept(new(conversation="later"), new(conversation="c0"))
    sql.execute("UPDATE requests SET published_at = published_at - interval '1 hour', due_at = due_at - interval '1 h'")
    assert lost(desk, *Priority) == []


def test_a_lost_retry_is_published_again_when_it_is_due(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(ending(claimed, Status.retrying, delay=30, countdown=True))
    sql.execute("UPDATE requests SET published_at = now() - interval '100 seconds'")
    assert lost(desk, *Priority) == []
    sql.execute("UPDATE requests SET due_at = now() - interval '4 seconds'")
    assert lost(desk, *Priority) == []
    sql.execute("UPDATE requests SET due_at = now() - interval '6 seconds'")
    assert lost(desk, *Priority) == [claimed.id]


def test_what_is_published_again_goes_to_the_queue_of_its_rank(desk: Desk, sql: Sql) -> None:
    claimed = desk.running(priority=Priority.batch)
    desk.accept(new(priority=Priority.urgent))
    desk.end(ending(claimed, Status.retrying, delay=1, countdown=True))
    desk.accept(new(priority=Priority.urgent))
    sql.execute("UPDATE requests SET published_at = now() - interval '1 h', due_at = now() - interval '1 h' WHERE head")
    (publication,) = recover.lost(desk.database, grace=GRACE, empty_queues=list(Priority))
    assert (publication.id, publication.queue) == (claimed.id, Priority.urgent)


def test_recovery_passes_over_what_another_holds_and_does_not_wait(desk: Desk, sql: Sql) -> None:
    held, other = new(), new("bob")
    desk.accept(held, other)
    sql.execute("UPDATE requests SET accepted_at = now() - interval '1 hour'")
    for one in (held, other):
        published_ago(sql, 3600, one.id)
    with sql.transaction():
        sql.execute("SELECT FROM requests WHERE id = %s FOR UPDATE", [held.id])
        assert lost(desk, *Priority) == [other.id]
        assert [one.id for one in recover.aged(desk.database, ageing=1000)] == [other.id]
    assert lost(desk, *Priority) == [held.id]


# -- what waited in the ledger ----------------------------------------------------------------------------------------


def test_what_waited_in_the_ledger_alone_is_published_when_due(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(ending(claimed, Status.retrying, delay=120))
    assert recover.due(desk.database, concurrency=3) == []
    sql.execute("UPDATE requests SET due_at = now()")
    assert [one.id for one in recover.due(desk.database, concurrency=3)] == [claimed.id]
    assert recover.due(desk.database, concurrency=3) == []
    assert violations(sql) == []


def test_what_is_due_still_waits_for_a_place(desk: Desk, sql: Sql) -> None:
    claims = [desk.running(conversation=f"c{index}") for index in range(3)]
    desk.end(ending(claims[0], Status.retrying, delay=120))
    desk.running(conversation="another")
    sql.execute("UPDATE requests SET due_at = now()")
    assert recover.due(desk.database, concurrency=3) == []
    assert [one.id for one in recover.due(desk.database, concurrency=4)] == [claims[0].id]


def test_who_waits_for_a_place_of_their_own_takes_nobody_elses_turn(
    desk: Desk, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "BATCH", 2)
    for user in ("a", "b", "c"):  # busy for as long as they like, and each with one more that waits
        desk.accept(*(new(user, conversation=f"{user} {index}") for index in range(4)))
    late = [desk.running(user=user) for user in ("x", "y", "z")]
    desk.end(*(ending(one, Status.retrying, delay=600) for one in late))
    for seconds, one in enumerate(late):
        sql.execute("UPDATE requests SET due_at = now() - %s * interval '1 s' WHERE id = %s", [seconds, one.id])
    assert {one.id for one in recover.due(desk.database, concurrency=3)} == {late[1].id, late[2].id}, "oldest first"
    assert [one.id for one in recover.due(desk.database, concurrency=3)] == [late[0].id]


# -- one at a time ----------------------------------------------------------------------------------------------------


def test_one_recovery_is_at_work_at_a_time(ledger_url: str, desk: Desk) -> None:
    other = Database(ledger_url)
    with recover.alone(desk.database) as first, recover.alone(other) as second:
        assert (first, second) == (True, False)
    with recover.alone(other) as third:
        assert third
    other.close()
