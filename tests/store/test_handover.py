"""Handing over: whoever ends a request gives the session, and the user's place, to the next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg

from pipeline.client.cancelling import cancellation
from pipeline.store.ledger.outcomes import standing
from tests.servers import eventually
from tests.store.desk import Desk, Sql, answered, count, new, violations


def test_the_next_of_the_session_follows(desk: Desk, sql: Sql) -> None:
    batch = [new() for _ in range(4)]
    desk.accept(*batch)
    order = []
    for _ in batch:
        (claimed,) = desk.claim(*(one.id for one in batch))
        order.append(claimed.id)
        desk.end(answered(claimed))
        assert violations(sql) == []
    assert order == [one.id for one in batch]


def test_the_next_head_takes_the_highest_priority_behind_it(desk: Desk) -> None:
    claimed = desk.running()
    desk.accept(second := new(priority=2), new(priority=0), new(priority=1))
    (publication,) = desk.end(answered(claimed)).publications
    assert (publication.id, publication.queue) == (second.id, 0)


def test_who_has_ended_behind_the_next_head_hurries_nobody(desk: Desk) -> None:
    claimed = desk.running()
    desk.accept(second := new(), gone := new(priority=0))
    desk.end(cancellation(standing(desk.database, gone.id)))
    (publication,) = desk.end(answered(claimed)).publications
    assert (publication.id, publication.queue) == (second.id, 1)


def test_a_place_goes_to_the_highest_priority_then_the_oldest(desk: Desk) -> None:
    claims = [desk.running(conversation=f"c{index}") for index in range(3)]
    batch, old, young, urgent = (new(conversation=f"w{index}", priority=p) for index, p in enumerate([2, 1, 1, 0]))
    for one in (batch, old, young, urgent):
        desk.accept(one)
    order = []
    for claimed in claims:
        order += [one.id for one in desk.end(answered(claimed)).publications]
    order += [one.id for one in desk.end(answered(desk.claim_one(urgent.id))).publications]
    assert order == [urgent.id, old.id, young.id, batch.id]


def test_a_place_that_is_free_goes_to_the_user_not_to_others(desk: Desk) -> None:
    full = [desk.running(conversation=f"c{index}") for index in range(3)]
    desk.accept(new(conversation="waits"))
    other = desk.running(user="bob")
    assert desk.end(answered(other)).publications == []
    assert len(desk.end(answered(full[0])).publications) == 1


def test_to_cancel_from_the_middle_changes_nobodys_turn(desk: Desk, sql: Sql) -> None:
    batch = [new() for _ in range(4)]
    desk.accept(*batch)
    for one in (batch[2], batch[1]):
        now = standing(desk.database, one.id)
        assert desk.end(cancellation(now)).publications == []
        assert violations(sql) == []
    (publication,) = desk.end(answered(desk.claim_one(batch[0].id))).publications
    assert publication.id == batch[3].id


def test_a_batch_may_end_two_of_a_session_with_another_between_them(desk: Desk, sql: Sql) -> None:
    """As recovery does, when the head has expired and so has one further back."""
    batch = [new() for _ in range(5)]
    desk.accept(*batch)
    ended = desk.end(*(cancellation(standing(desk.database, batch[index].id)) for index in (0, 2)))
    assert [one.id for one in ended.publications] == [batch[1].id]
    assert violations(sql) == []


def test_what_was_accepted_while_an_end_waited_is_handed_on_by_it(ledger_url: str, desk: Desk, sql: Sql) -> None:
    claims = [desk.running(user=user) for user in ("ada", "bob")]
    behind = new("bob")
    with psycopg.connect(ledger_url) as busy, ThreadPoolExecutor(1) as thread:
        busy.execute("SELECT FROM users WHERE user_id = 'ada' FOR UPDATE")
        ending = thread.submit(desk.end, *(answered(one) for one in claims))
        eventually(lambda: count(sql, "pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"))
        assert desk.accept(behind) == []
        busy.commit()
        assert [one.id for one in ending.result(60).publications] == [behind.id]
    assert violations(sql) == []
