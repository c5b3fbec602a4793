"""What a request does that comes into a busy session: wait, be rejected, or interrupt what runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from pipeline.client.cancelling import cancellation
from pipeline.schemas import Message, Priority, Status
from pipeline.store.invariants import check
from pipeline.store.ledger import Claim, Ending, recover
from pipeline.store.ledger.outcomes import standing
from tests.store.desk import Desk, Sql, answered, count, ending, new, row, violations

MARK = {"interrupted": True}


def broken(desk: Desk) -> list[str]:
    return [one.name for one in check(desk.database)]


def interrupted(claimed: Claim, partial: str = "Knu") -> Ending:
    """The end of an attempt that has heard of it."""
    messages = (Message("user", claimed.text, metadata=MARK), Message("assistant", partial, metadata=MARK))
    return ending(claimed, Status.cancelled, reason="interrupted", messages=messages)


# -- reject -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "running", "retrying"])
def test_a_busy_session_rejects_whatever_its_request_does(desk: Desk, sql: Sql, state: str) -> None:
    desk.accept(first := new())
    if state != "queued":
        claimed = desk.claim_one(first.id)
        if state == "retrying":
            desk.end(ending(claimed, Status.retrying, delay=60))
    ((accepted,), publications) = desk.accepted(new(on_busy="reject"))
    assert (accepted.busy, publications) == (True, [])
    assert count(sql, "requests") == 1
    assert sql.execute("SELECT accepted FROM sessions").fetchall() == [(1,)]
    assert violations(sql) == []


def test_an_idle_session_takes_one_of_those_that_may_be_rejected(desk: Desk, sql: Sql) -> None:
    desk.converse()
    batch = [new(on_busy=on_busy) for on_busy in ("reject", "reject", "queue", "reject")]
    accepted, publications = desk.accepted(*batch)
    assert [one.busy for one in accepted] == [False, True, False, True]
    assert [one.id for one in publications] == [batch[0].id]
    positions = sql.execute("SELECT id, position FROM requests WHERE finished_at IS NULL ORDER BY position").fetchall()
    assert positions == [(batch[0].id, 2), (batch[2].id, 3)]
    assert violations(sql) == []


def test_another_session_of_the_user_is_not_busy(desk: Desk) -> None:
    desk.running()
    ((accepted,), _) = desk.accepted(new(conversation="another", on_busy="reject"))
    assert not accepted.busy


def test_a_known_key_leads_to_its_request_even_in_a_busy_session(desk: Desk, sql: Sql) -> None:
    keyed: dict[str, Any] = {"idempotency_key": "k", "content_hash": b"h", "on_busy": "reject"}
    desk.accept(first := new(**keyed))
    ((again,), _) = desk.accepted(new(**keyed))
    assert (again.id, again.busy) == (first.id, False)
    ((same,), _) = desk.accepted(first)  # as after a commit whose answer was lost
    assert (same.id, same.busy) == (first.id, False)


def test_who_asks_twice_in_one_batch_is_rejected_twice(desk: Desk, sql: Sql) -> None:
    desk.running()
    keyed: dict[str, Any] = {"idempotency_key": "k", "content_hash": b"h", "on_busy": "reject"}
    accepted, _ = desk.accepted(new(**keyed), new(**keyed), new(idempotency_key="other", content_hash=b"h"))
    assert [one.busy for one in accepted] == [True, True, False]
    assert count(sql, "requests") == 2


# -- interrupt --------------------------------------------------------------------------------------------------------


def test_to_interrupt_names_what_runs_and_the_worker_to_tell(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    behind, last = new(), new(on_busy="interrupt")
    desk.accept(behind)
    ((accepted,), publications) = desk.accepted(last)
    assert (accepted.interrupts, publications) == ((claimed.id, desk.worker_id), [])
    assert isinstance(row(sql, claimed.id, "interrupted_at")[0], datetime)
    ((again,), _) = desk.accepted(new(on_busy="interrupt"))
    assert again.interrupts is None  # it was told
    positions = [row(sql, one.id, "position")[0] for one in (behind, last)]
    assert positions == [2, 3]


def test_to_interrupt_under_a_key_names_what_runs_once(desk: Desk) -> None:
    claimed = desk.running()
    keyed: dict[str, Any] = {"idempotency_key": "k", "content_hash": b"h", "on_busy": "interrupt"}
    (first, same), _ = desk.accepted(new(**keyed), new(**keyed))
    assert first.interrupts == (claimed.id, desk.worker_id)
    assert (same.id, same.interrupts) == (first.id, None)
    ((asked_again,), _) = desk.accepted(new(**keyed))
    assert (asked_again.id, asked_again.interrupts) == (first.id, None)


def test_what_is_more_urgent_than_what_runs_interrupts_it_too(desk: Desk, sql: Sql) -> None:
    claimed = desk.running(priority=Priority.batch)
    batch = [new(priority=Priority.normal), new(priority=Priority.urgent, on_busy="interrupt")]
    (_, accepted), publications = desk.accepted(*batch)
    assert (accepted.interrupts, publications) == ((claimed.id, desk.worker_id), [])
    assert row(sql, claimed.id, "interrupted_at IS NOT NULL") == (True,)
    (publication,) = desk.end(interrupted(claimed)).publications
    assert (publication.id, publication.queue) == (batch[0].id, Priority.urgent)


@pytest.mark.parametrize("state", ["queued", "retrying"])
def test_what_does_not_run_is_not_interrupted(desk: Desk, sql: Sql, state: str) -> None:
    desk.accept(first := new())
    if state == "retrying":
        desk.end(ending(desk.claim_one(first.id), Status.retrying, delay=60))
    ((accepted,), _) = desk.accepted(new(on_busy="interrupt"))
    assert accepted.interrupts is None
    assert row(sql, first.id, "status, interrupted_at") == (state, None)


def test_the_text_so_far_is_kept_and_the_next_takes_its_turn(desk: Desk, sql: Sql) -> None:
    desk.converse()
    claimed = desk.running()
    desk.accept(following := new(on_busy="interrupt"))
    ended = desk.end(interrupted(claimed))
    assert [one.id for one in ended.publications] == [following.id]
    assert row(sql, claimed.id, "status, reason, text") == ("cancelled", "interrupted", None)
    context = desk.claim_one(following.id).context
    assert [(one.number, one.content, one.metadata) for one in context[2:]] == [
        (3, "What did I cite?", MARK),
        (4, "Knu", MARK),
    ]
    assert (violations(sql), broken(desk)) == ([], [])


def test_only_who_was_interrupted_may_end_cancelled_with_a_text(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(interrupted(claimed))
    assert (count(sql, "messages"), row(sql, claimed.id, "text")) == (0, ("What did I cite?",))


@pytest.mark.parametrize("damage", ["metadata = NULL", "role = 'tool'"])
def test_the_exception_is_for_marked_texts_alone(desk: Desk, sql: Sql, damage: str) -> None:
    claimed = desk.running()
    desk.accept(new(on_busy="interrupt"))
    desk.end(interrupted(claimed))
    sql.execute(f"UPDATE messages SET {damage} WHERE part = 2")
    assert broken(desk) == ["unanswered_is_silent"]


def test_an_answer_that_was_committed_just_before_stands(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.accept(new(on_busy="interrupt"))
    desk.end(answered(claimed))
    assert desk.end(interrupted(claimed)).ids == frozenset()
    assert row(sql, claimed.id, "status") == ("succeeded",)
    assert count(sql, "messages") == 2
    assert (violations(sql), broken(desk)) == ([], [])


def test_who_asks_for_no_answer_meanwhile_gets_none(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.accept(new(on_busy="interrupt"))
    desk.end(cancellation(standing(desk.database, claimed.id)))
    assert desk.end(interrupted(claimed)).ids == frozenset()
    assert row(sql, claimed.id, "status, text") == ("cancelled", "What did I cite?")
    assert count(sql, "messages") == 0


@pytest.mark.parametrize("state", ["running", "retrying"])
def test_what_its_worker_does_not_end_within_three_seconds_is_recoverys(desk: Desk, sql: Sql, state: str) -> None:
    claimed = desk.running()
    desk.accept(new(on_busy="interrupt"))
    if state == "retrying":
        desk.end(ending(claimed, Status.retrying, delay=60))
    assert recover.stranded(desk.database, patience=3) == []
    sql.execute("UPDATE requests SET interrupted_at = interrupted_at - interval '4 seconds'")
    (found,) = recover.stranded(desk.database, patience=3)
    assert (found.id, found.why) == (claimed.id, "interrupted")
