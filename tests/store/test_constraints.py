"""The database itself keeps the invariants: each is tried with raw SQL, as if the pipeline's own code were wrong."""

from __future__ import annotations

from uuid import uuid4

import pytest
from psycopg import errors

from tests.store.desk import Desk, Sql, answered, new, row


def test_a_session_has_one_head(desk: Desk, sql: Sql) -> None:
    first, second = new(), new()
    desk.accept(first, second)
    with pytest.raises(errors.UniqueViolation, match="uq_requests_head"):
        sql.execute("UPDATE requests SET head = true WHERE id = %s", [second.id])


def test_only_a_head_runs(desk: Desk, sql: Sql) -> None:
    first, second = new(), new()
    desk.accept(first, second)
    run = "UPDATE requests SET status = 'running', worker_id = %s WHERE id = %s"
    with pytest.raises(errors.CheckViolation, match="only_a_head_runs"):
        sql.execute(run, [uuid4(), second.id])
    sql.execute(run, [uuid4(), first.id])


def test_a_session_has_one_running_request_even_by_force(desk: Desk, sql: Sql) -> None:
    second = new()
    desk.running()
    desk.accept(second)
    with pytest.raises(errors.UniqueViolation, match="uq_requests_head"):
        sql.execute(
            "UPDATE requests SET head = true, status = 'running', worker_id = %s WHERE id = %s", [uuid4(), second.id]
        )


def test_what_runs_has_a_worker(desk: Desk, sql: Sql) -> None:
    one = new()
    desk.accept(one)
    with pytest.raises(errors.CheckViolation, match="only_a_head_runs"):
        sql.execute("UPDATE requests SET status = 'running' WHERE id = %s", [one.id])


def test_no_more_attempts_than_allowed(desk: Desk, sql: Sql) -> None:
    one = new(max_attempts=2)
    desk.accept(one)
    sql.execute("UPDATE requests SET attempts = 2 WHERE id = %s", [one.id])
    with pytest.raises(errors.CheckViolation, match="attempts_bounded"):
        sql.execute("UPDATE requests SET attempts = 3 WHERE id = %s", [one.id])


def test_an_unknown_status_is_refused(desk: Desk, sql: Sql) -> None:
    one = new()
    desk.accept(one)
    with pytest.raises(errors.CheckViolation, match="status_known"):
        sql.execute("UPDATE requests SET status = 'lost' WHERE id = %s", [one.id])


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "expired"])
def test_a_final_status_comes_with_its_time(desk: Desk, sql: Sql, status: str) -> None:
    one = new()
    desk.accept(one)
    with pytest.raises(errors.CheckViolation, match="final_means_finished"):
        sql.execute("UPDATE requests SET head = false, status = %s WHERE id = %s", [status, one.id])


@pytest.mark.parametrize("status", ["queued", "retrying"])
def test_what_waits_has_not_finished(desk: Desk, sql: Sql, status: str) -> None:
    one = new()
    desk.accept(one)
    with pytest.raises(errors.CheckViolation, match="final_means_finished"):
        sql.execute(
            "UPDATE requests SET head = false, status = %s, finished_at = now() WHERE id = %s", [status, one.id]
        )


def test_what_has_finished_is_nobodys_head(desk: Desk, sql: Sql) -> None:
    one = new()
    desk.accept(one)
    with pytest.raises(errors.CheckViolation, match="head_is_unfinished"):
        sql.execute("UPDATE requests SET status = 'failed', finished_at = now() WHERE id = %s", [one.id])


@pytest.mark.parametrize(
    "change",
    [
        "status = 'failed'",
        "status = 'cancelled'",
        "fence = fence + 1",
        "attempts = attempts + 1",
        "finished_at = now()",
        "status = 'queued', finished_at = NULL",
    ],
)
def test_an_outcome_is_final(desk: Desk, sql: Sql, change: str) -> None:
    claimed = desk.running()
    desk.end(answered(claimed))
    before = row(sql, claimed.id, "status, fence, attempts, finished_at")
    with pytest.raises(errors.IntegrityConstraintViolation, match="its outcome is final"):
        sql.execute(f"UPDATE requests SET {change} WHERE id = %s", [claimed.id])
    assert row(sql, claimed.id, "status, fence, attempts, finished_at") == before


def test_what_does_not_touch_the_outcome_may_change_afterwards(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(answered(claimed))
    sql.execute("UPDATE requests SET text = NULL, metadata = '{}' WHERE id = %s", [claimed.id])


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "expired"])
def test_an_unfinished_request_may_get_any_outcome(desk: Desk, sql: Sql, status: str) -> None:
    one = new()
    desk.accept(one)
    sql.execute("UPDATE requests SET head = false, status = %s, finished_at = now() WHERE id = %s", [status, one.id])
    assert row(sql, one.id, "status") == (status,)


def test_two_requests_do_not_share_a_place(desk: Desk, sql: Sql) -> None:
    first, second = new(), new()
    desk.accept(first, second)
    with pytest.raises(errors.UniqueViolation, match="session_id_position"):
        sql.execute("UPDATE requests SET position = 1 WHERE id = %s", [second.id])


def test_an_idempotency_key_belongs_to_one_request_of_a_user(desk: Desk, sql: Sql) -> None:
    first, second, elsewhere = new(), new(), new("bob")
    desk.accept(first, second, elsewhere)
    give = "UPDATE requests SET idempotency_key = 'k' WHERE id = %s"
    sql.execute(give, [first.id])
    sql.execute(give, [elsewhere.id])
    with pytest.raises(errors.UniqueViolation, match="idempotency_key"):
        sql.execute(give, [second.id])


def test_an_original_has_one_live_replay(desk: Desk, sql: Sql) -> None:
    original, replay, another = new(), new(), new()
    desk.accept(original, replay, another)
    mark = "UPDATE requests SET retry_of = %s WHERE id = %s"
    sql.execute(mark, [original.id, replay.id])
    with pytest.raises(errors.UniqueViolation, match="live_replay"):
        sql.execute(mark, [original.id, another.id])
    sql.execute("UPDATE requests SET status = 'failed', finished_at = now() WHERE id = %s", [replay.id])
    sql.execute(mark, [original.id, another.id])


def test_an_attempt_is_recorded_once(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(answered(claimed))
    with pytest.raises(errors.UniqueViolation, match="pk_attempts"):
        sql.execute("INSERT INTO attempts SELECT * FROM attempts WHERE request_id = %s", [claimed.id])
