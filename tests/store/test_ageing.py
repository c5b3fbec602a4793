"""Ageing: what has waited long counts one class higher, so that no class waits for ever."""

from __future__ import annotations

import pytest

from pipeline.schemas import Priority, Status
from pipeline.store.ledger import recover
from tests.store.desk import Desk, Sql, ending, new, row


def test_what_waits_counts_one_class_higher_for_each_stretch_of_time(desk: Desk, sql: Sql) -> None:
    old, young = new(priority=Priority.batch), new("bob", priority=Priority.batch)
    desk.accept(old, young)
    for seconds, rank in ((60, Priority.normal), (120, Priority.urgent)):
        sql.execute("UPDATE requests SET accepted_at = now() - %s * interval '1 s' WHERE id = %s", [seconds, old.id])
        (moved,) = recover.aged(desk.database, ageing=59)
        assert (moved.id, moved.queue, moved.number) == (old.id, rank, 3 - rank)
        assert recover.aged(desk.database, ageing=59) == []
        assert row(sql, old.id, "rank, queue, priority") == (rank, rank, Priority.batch)
    sql.execute("UPDATE requests SET accepted_at = now() - interval '1 hour' WHERE id = %s", [old.id])
    assert recover.aged(desk.database, ageing=59) == []


def test_who_was_hurried_by_the_next_of_its_session_grows_no_older_for_that(desk: Desk, sql: Sql) -> None:
    desk.accept(new(priority=Priority.batch), new(priority=Priority.normal))
    sql.execute("UPDATE requests SET accepted_at = now() - interval '100 seconds' WHERE head")
    assert recover.aged(desk.database, ageing=59) == []
    sql.execute("UPDATE requests SET accepted_at = now() - interval '120 seconds' WHERE head")
    assert [one.queue for one in recover.aged(desk.database, ageing=59)] == [Priority.urgent]


def test_so_many_move_at_a_time_and_those_that_waited_longest(
    desk: Desk, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "BATCH", 100)
    batch = [new(f"u{number}", priority=Priority.batch) for number in range(150)]
    desk.accept(*batch)
    sql.execute(
        "UPDATE requests SET accepted_at = now() - interval '70 s' - substr(user_id, 2)::int * interval '10 ms'"
    )
    first = {one.id for one in recover.aged(desk.database, ageing=60)}
    assert first == {one.id for one in batch[50:]}
    assert {one.id for one in recover.aged(desk.database, ageing=60)} == {one.id for one in batch[:50]}


def test_what_waits_for_a_place_grows_old_without_being_published(desk: Desk, sql: Sql) -> None:
    for index in range(3):
        desk.running(conversation=f"c{index}")
    desk.accept(one := new(conversation="later"))
    sql.execute("UPDATE requests SET accepted_at = now() - interval '1 minute'")
    assert recover.aged(desk.database, ageing=59) == []
    assert row(sql, one.id, "rank, published_at, queue, publications") == (0, None, None, 0)


@pytest.mark.parametrize("status", [Status.retrying, Status.queued])
@pytest.mark.parametrize("countdown", [True, False])
def test_what_was_tried_before_grows_old_once_it_is_due(
    desk: Desk, sql: Sql, status: Status, *, countdown: bool
) -> None:
    claimed = desk.running(priority=Priority.batch)
    desk.end(ending(claimed, status, reason="concurrency", delay=20, countdown=countdown))
    sql.execute("UPDATE requests SET accepted_at = now() - interval '1 hour'")
    assert recover.aged(desk.database, ageing=60) == [], "a message that comes too early is lost"
    sql.execute("UPDATE requests SET due_at = now()")
    recover.due(desk.database, concurrency=3)
    for rank in (Priority.normal, Priority.urgent):
        (moved,) = recover.aged(desk.database, ageing=60)
        assert (moved.id, moved.queue) == (claimed.id, rank)
    assert recover.aged(desk.database, ageing=60) == []
    assert desk.claim_one(claimed.id).queue == Priority.urgent


def test_who_has_much_that_waits_keeps_nobody_else_from_growing_old(desk: Desk, sql: Sql) -> None:
    desk.accept(*(new("flooding", f"c{number}", priority=Priority.batch) for number in range(400)))
    sql.execute("UPDATE requests SET accepted_at = now() - interval '10 minutes'")
    desk.accept(*(new("bob", f"c{number}", priority=Priority.batch) for number in range(4)))
    sql.execute("UPDATE requests SET accepted_at = now() - interval '5 minutes' WHERE user_id = 'bob'")
    for rank in (Priority.normal, Priority.urgent):
        moved = recover.aged(desk.database, ageing=60)
        assert [one.queue for one in moved if one.user_id == "bob"] == [rank] * 3
        assert sql.execute("SELECT DISTINCT rank FROM requests WHERE user_id = 'bob'").fetchall() == [(rank,)]


@pytest.mark.parametrize("priority", [Priority.urgent])
def test_nothing_is_more_urgent_than_urgent(desk: Desk, sql: Sql, priority: Priority) -> None:
    desk.accept(new(priority=priority))
    sql.execute("UPDATE requests SET accepted_at = now() - interval '1 minute'")
    assert recover.aged(desk.database, ageing=59) == []
