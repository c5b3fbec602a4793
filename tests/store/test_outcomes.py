"""Outcomes: what waiters are told, and what is known of a commit whose answer was lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.client.cancelling import cancellation
from pipeline.schemas import Call, Status, Usage
from pipeline.store.ledger import outcomes
from pipeline.store.ledger.end import in_force
from pipeline.store.ledger.outcomes import standing
from tests.store.desk import Desk, Sql, answered, ending, new

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
OUTCOMES_OF_ATTEMPTS = [Status.succeeded, Status.failed, Status.expired]
CALL = Call("first", "big", NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=3), 200, None, Usage(10, 4), 0.25)


def test_an_outcome_tells_what_waiters_want_to_know(desk: Desk) -> None:
    claimed = desk.running()
    other = desk.running(user="bob")
    desk.end(answered(claimed, "Knuth.", calls=(CALL, CALL)), ending(other, Status.failed, reason="http_4xx"))
    unfinished = desk.running(user="eve")
    by_id = {one.id: one for one in outcomes(desk.database, [claimed.id, other.id, unfinished.id])}
    assert by_id.keys() == {claimed.id, other.id}
    good, bad = by_id[claimed.id], by_id[other.id]
    assert (good.status, good.text, good.provider, good.model, good.attempts) == (
        Status.succeeded, "Knuth.", "first", "big", 1
    )  # fmt: skip
    assert (good.input_tokens, good.output_tokens) == (20, 8)
    assert 0 <= good.queued <= good.total
    assert good.total == pytest.approx(good.queued + good.running, abs=0.001)
    assert (bad.status, bad.reason, bad.text, bad.provider) == (Status.failed, "http_4xx", None, None)


def test_what_was_tried_again_had_waited_until_its_first_attempt(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    sql.execute("UPDATE requests SET accepted_at = now() - interval '1 hour', started_at = now() - interval '50 min'")
    desk.end(ending(claimed, Status.retrying, delay=0))
    desk.end(answered(desk.claim_one(claimed.id)))
    (told,) = outcomes(desk.database, [claimed.id])
    assert told.queued == pytest.approx(600)
    assert told.total == pytest.approx(3600, abs=60)


# -- a commit whose answer was lost -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [*OUTCOMES_OF_ATTEMPTS, Status.retrying, Status.queued])
def test_an_ending_that_went_through_is_known_to_be_in_force(desk: Desk, status: Status) -> None:
    claimed = desk.running()
    wish = ending(claimed, status, delay=None if status in OUTCOMES_OF_ATTEMPTS else 0)
    assert in_force(desk.database, [wish]).ids == set()
    desk.end(wish)
    found = in_force(desk.database, [wish])
    assert found.ids == {claimed.id}
    assert found.outcomes == ({"here": [claimed.id]} if status in OUTCOMES_OF_ATTEMPTS else {})


def test_a_cancellation_that_went_through_is_known_to_be_in_force_and_whose_attempt_it_ended(desk: Desk) -> None:
    claimed = desk.running(user="bob")
    desk.accept(waits := new())
    wishes = [cancellation(standing(desk.database, id_)) for id_ in (claimed.id, waits.id)]
    assert in_force(desk.database, wishes).ids == set()
    told = desk.end(*wishes)
    found = in_force(desk.database, wishes)
    assert found.ids == told.ids == {claimed.id, waits.id}
    for courses in (told.courses, found.courses):
        assert (courses[claimed.id].was_running, courses[claimed.id].worker) == (True, str(desk.worker_id))
        assert (courses[waits.id].was_running, courses[waits.id].worker) == (False, None)


def test_anothers_ending_is_not_taken_for_ones_own(desk: Desk) -> None:
    claimed = desk.running()
    desk.end(ending(claimed, Status.retrying, delay=0))
    again = desk.claim_one(claimed.id)
    desk.end(answered(again))
    assert in_force(desk.database, [answered(claimed)]).ids == set()  # the answer of a later attempt
    assert in_force(desk.database, [ending(again, Status.failed)]).ids == set()
    assert in_force(desk.database, [answered(again)]).ids == {claimed.id}
