"""Accepting: what is stored, in which order, and what may run at once."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from pipeline.schemas import Priority, Status
from pipeline.store.ledger import recover
from tests.store.desk import Desk, Sql, answered, count, ending, new, row, violations


def published(desk: Desk, sql: Sql) -> set[UUID]:
    return {id_ for (id_,) in sql.execute("SELECT id FROM requests WHERE head AND published_at IS NOT NULL")}


def test_what_is_accepted_is_stored_as_it_is(desk: Desk, sql: Sql) -> None:
    one = new(
        text='Ünïcode 🙂 \\ "quoted" \u2028\n', metadata={"deep": [1, None, {"x": "🙂"}]}, priority=Priority.batch
    )
    (publication,) = desk.accept(one)
    assert (publication.id, publication.user_id, publication.conversation_id) == (one.id, "ada", "thesis")
    assert (publication.queue, publication.number) == (Priority.batch, 1)
    stored = row(sql, one.id, "text, metadata, agent, status, head, position, attempts, max_attempts, stream_key")
    assert stored == (one.text, one.metadata, "chat", "queued", True, 1, 0, 3, one.stream_key)


def test_the_deadline_counts_from_acceptance_by_the_databases_clock(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new(deadline=90.5))
    assert row(sql, one.id, "extract(epoch FROM deadline - accepted_at)::float8") == (90.5,)


def test_a_sessions_requests_get_their_places_in_the_batchs_order(desk: Desk, sql: Sql) -> None:
    batch = [new(), new(conversation="dinner"), new(), new(), new(conversation="dinner")]
    desk.accept(*batch)
    desk.accept(later := new())
    assert [row(sql, one.id, "position")[0] for one in [*batch, later]] == [1, 1, 2, 3, 2, 4]


def test_only_the_first_of_a_session_is_published(desk: Desk) -> None:
    first, second, third = new(), new(), new()
    assert [one.id for one in desk.accept(first, second)] == [first.id]
    assert desk.accept(third) == []


def test_no_more_of_a_user_is_published_than_may_run_at_once(desk: Desk, sql: Sql) -> None:
    batch = [new(conversation=f"c{index}") for index in range(5)]
    first = desk.accept(*batch[:2])
    second = desk.accept(*batch[2:])
    assert [one.id for one in first + second] == [one.id for one in batch[:3]]
    assert len(desk.accept(new("bob"))) == 1
    assert violations(sql) == []


def test_of_one_batch_the_most_urgent_are_published(desk: Desk) -> None:
    batch = [
        new(conversation=f"c{index}", priority=Priority[name])
        for index, name in enumerate(["batch", "normal", "urgent", "normal", "urgent"])
    ]
    assert {one.id for one in desk.accept(*batch)} == {batch[2].id, batch[4].id, batch[1].id}


def test_a_published_request_takes_a_place_until_it_has_ended(desk: Desk) -> None:
    claims = [desk.running(conversation=f"c{index}") for index in range(3)]
    assert desk.accept(waiting := new(conversation="later")) == []
    assert [one.id for one in desk.end(answered(claims[0])).publications] == [waiting.id]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
def test_the_head_takes_the_highest_priority_that_waits_behind_it(desk: Desk, sql: Sql, *, together: bool) -> None:
    batch = [new(priority=Priority.batch), new(priority=Priority.normal), new(priority=Priority.urgent)]
    publications = desk.accept(*batch) if together else [one for new_ in batch for one in desk.accept(new_)]
    # a message in a slower queue would hold up what is urgent, so each step up is published again
    assert [one.queue for one in publications] == ([0] if together else [2, 1, 0])
    assert {one.id for one in publications} == {batch[0].id}
    assert [one.number for one in publications] == ([1] if together else [1, 2, 3])
    assert row(sql, batch[0].id, "rank, priority, queue") == (0, 2, 0)
    assert [row(sql, one.id, "rank")[0] for one in batch[1:]] == [1, 0]


def test_what_is_less_urgent_does_not_slow_the_head_down(desk: Desk, sql: Sql) -> None:
    desk.accept(head := new(priority=Priority.urgent))
    assert desk.accept(new(priority=Priority.batch)) == []
    assert row(sql, head.id, "rank, publications") == (0, 1)


def test_a_running_head_is_not_published_again_but_knows_who_waits_behind_it(desk: Desk, sql: Sql) -> None:
    claimed = desk.running(priority=Priority.batch)
    assert desk.accept(new(priority=Priority.urgent)) == []
    assert row(sql, claimed.id, "rank, queue, publications, status") == (0, 2, 1, "running")
    (publication,) = desk.end(ending(claimed, Status.retrying, reason="worker_lost", delay=0)).publications
    assert (publication.id, publication.queue) == (claimed.id, Priority.urgent)


def test_a_head_that_is_to_be_retried_now_moves_to_the_queue_of_what_waits_behind_it(desk: Desk, sql: Sql) -> None:
    claimed = desk.running(priority=Priority.batch)
    desk.end(ending(claimed, Status.retrying, delay=0, countdown=True))
    (publication,) = desk.accept(new(priority=Priority.urgent))
    assert (publication.id, publication.queue, publication.number) == (claimed.id, Priority.urgent, 3)
    assert row(sql, claimed.id, "rank, queue, status") == (0, 0, "retrying")


def test_a_head_that_a_claim_would_take_by_now_moves_for_its_message_may_be_spent_meanwhile(
    desk: Desk, sql: Sql
) -> None:
    claimed = desk.running(priority=Priority.batch)
    desk.end(ending(claimed, Status.retrying, delay=30, countdown=True))
    desk.accept(new(conversation="other"))  # planned, so that the next one is quick
    sql.execute(
        "UPDATE requests SET due_at = clock_timestamp() + interval '45 milliseconds' WHERE id = %s", [claimed.id]
    )
    (publication,) = desk.accept(new(priority=Priority.urgent))
    assert (publication.id, publication.queue) == (claimed.id, Priority.urgent)
    assert [one.id for one in desk.claim(claimed.id)] == [claimed.id]


@pytest.mark.parametrize("status", [Status.retrying, Status.queued])
def test_a_head_that_waits_for_its_time_moves_when_it_is_due(desk: Desk, sql: Sql, status: Status) -> None:
    claimed = desk.running(priority=Priority.batch)
    desk.end(ending(claimed, status, reason="concurrency", delay=30, countdown=True))
    assert desk.accept(new(priority=Priority.urgent)) == []
    assert row(sql, claimed.id, "rank, queue, publications") == (0, 2, 2)
    assert recover.aged(desk.database, ageing=60) == []
    sql.execute("UPDATE requests SET due_at = now() WHERE id = %s", [claimed.id])
    (publication,) = recover.aged(desk.database, ageing=60)
    assert (publication.id, publication.queue, publication.number) == (claimed.id, Priority.urgent, 3)
    assert recover.aged(desk.database, ageing=60) == []


def test_a_waiting_head_moves_up_without_being_published(desk: Desk, sql: Sql) -> None:
    for index in range(3):
        desk.running(conversation=f"c{index}")
    desk.accept(head := new(conversation="later", priority=Priority.batch))
    assert desk.accept(new(conversation="later", priority=Priority.urgent)) == []
    assert row(sql, head.id, "rank, published_at, publications") == (0, None, 0)


def test_the_same_request_accepted_again_is_stored_once(desk: Desk, sql: Sql) -> None:
    one, other = new(), new()
    first, _ = desk.accepted(one)
    again, publications = desk.accepted(one, other)
    assert again[0] == first[0]
    assert publications == []
    assert count(sql, "requests") == 2
    assert violations(sql) == []


def test_a_thousand_are_accepted_in_order(desk: Desk, sql: Sql) -> None:
    batch = [new(f"u{index % 20}", f"c{index % 40}") for index in range(1000)]
    accepted, publications = desk.accepted(*batch)
    assert [one.id for one in accepted] == [one.id for one in batch]
    assert len(publications) == 40
    order = sql.execute("SELECT id FROM requests ORDER BY position, session_id").fetchall()
    assert {id_ for (id_,) in order[:40]} == {one.id for one in publications}
    assert violations(sql) == []


# -- idempotency keys -------------------------------------------------------------------------------------------------


def test_a_known_key_leads_to_the_request_that_has_it(desk: Desk, sql: Sql) -> None:
    first = new(idempotency_key="k", content_hash=b"same", origin="there", stream_key=b"1" * 32)
    desk.accept(first)
    (accepted,), publications = desk.accepted(new(idempotency_key="k", content_hash=b"same"))
    assert (accepted.id, accepted.origin, accepted.stream_key) == (first.id, "there", b"1" * 32)
    assert publications == []
    assert count(sql, "requests") == 1


def test_a_known_key_with_other_content_shows_in_the_hash(desk: Desk, sql: Sql) -> None:
    desk.accept(first := new(idempotency_key="k", content_hash=b"this"))
    (accepted,), _ = desk.accepted(new(idempotency_key="k", content_hash=b"that"))
    assert (accepted.id, accepted.content_hash) == (first.id, b"this")
    assert count(sql, "requests") == 1


def test_a_key_twice_in_one_batch_is_stored_once(desk: Desk, sql: Sql) -> None:
    first = new(idempotency_key="k", content_hash=b"this")
    batch = [first, new(), replace(first, id=new().id, conversation_id="dinner"), new(idempotency_key="k2")]
    accepted, _ = desk.accepted(*batch)
    assert [one.id for one in accepted] == [first.id, batch[1].id, first.id, batch[3].id]
    assert count(sql, "requests") == 3
    assert violations(sql) == []


def test_two_users_may_have_the_same_key(desk: Desk, sql: Sql) -> None:
    batch = [new(user, idempotency_key="k", content_hash=b"this") for user in ("ada", "bob")]
    accepted, _ = desk.accepted(*batch)
    assert [one.id for one in accepted] == [one.id for one in batch]
    assert count(sql, "requests") == 2


def test_a_key_stays_known_after_the_outcome(desk: Desk) -> None:
    desk.accept(first := new(idempotency_key="k", content_hash=b"this"))
    desk.end(answered(desk.claim_one(first.id)))
    (accepted,), publications = desk.accepted(new(idempotency_key="k", content_hash=b"this"))
    assert (accepted.id, publications) == (first.id, [])


def test_a_commit_whose_fate_was_unknown_finds_its_own_key(desk: Desk, sql: Sql) -> None:
    one = new(idempotency_key="k", content_hash=b"this")
    assert desk.accepted(one)[0] == desk.accepted(one)[0]
    assert count(sql, "requests") == 1
