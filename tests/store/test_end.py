"""Ending: one outcome, one set of messages, guarded by the fence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import errors

from pipeline.client.cancelling import cancellation
from pipeline.schemas import Call, Message, Status, Usage
from pipeline.store import spending
from pipeline.store.database import Database
from pipeline.store.ledger import account, outcomes, recover
from pipeline.store.ledger.outcomes import standing
from pipeline.turn import TURN_MAX
from tests.store.desk import Desk, Sql, answered, count, ending, new, row, violations

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
CALL = Call("first", "big", NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=3), 200, None, Usage(10, 4), 0.25)


def test_an_answer_is_appended_with_everything_that_belongs_to_it(desk: Desk, sql: Sql) -> None:
    desk.converse()
    claimed = desk.running()
    called = Message("assistant", "", tool_calls=({"id": "1"},))
    ended = desk.end(answered(claimed, "Knuth.", called, Message("tool", "found", tool_call_id="1"), calls=(CALL,)))
    assert ended.ids == {claimed.id}
    assert ended.outcomes == {"here": [claimed.id]}
    found = sql.execute("SELECT number, part, role FROM messages WHERE request_id = %s ORDER BY 1", [claimed.id])
    assert found.fetchall() == [(3, 1, "user"), (4, 2, "assistant"), (5, 3, "tool"), (6, 4, "assistant")]
    assert row(sql, claimed.id, "status, head, text, reason, run_until") == ("succeeded", False, None, None, None)
    assert sql.execute("SELECT number, fence, outcome, worker_id FROM attempts WHERE request_id = %s", [claimed.id])\
        .fetchall() == [(1, claimed.fence, "succeeded", desk.worker_id)]  # fmt: skip
    assert violations(sql) == []


def test_a_call_is_kept_as_it_was(desk: Desk, sql: Sql) -> None:
    failed = Call("second", "small", NOW, None, NOW, 503, "http_503", choice="first broke")
    claims = [desk.running(user="ada"), desk.running(user="bob")]
    for claimed, call in zip(claims, (CALL, failed), strict=True):
        desk.end(answered(claimed, calls=(call,)))
    one, other = (claimed.fence for claimed in claims)
    found = sql.execute(
        "SELECT attempt, fence, provider, model, started_at, first_token_at, finished_at, status_code, reason, "
        "input_tokens, output_tokens, cost, choice FROM calls ORDER BY id"
    ).fetchall()
    assert found == [
        (
            1,
            one,
            "first",
            "big",
            NOW,
            CALL.first_token_at,
            CALL.finished_at,
            200,
            None,
            10,
            4,
            0.25,
            "first configured",
        ),
        (1, other, "second", "small", NOW, None, NOW, 503, "http_503", 0, 0, None, "first broke"),
    ]


def test_calls_are_kept_in_their_order_in_a_database_that_has_grown(ledger_url: str, desk: Desk, sql: Sql) -> None:
    desk.accept(*(new(f"u{index}") for index in range(1000)))
    sql.execute("ANALYZE requests")
    # the plan that Postgres chooses when many requests end at once
    database = Database(f"{ledger_url}&options=-c%20enable_nestloop%3Doff")
    desk = Desk(database)
    claimed = desk.running()
    calls = tuple(replace(CALL, provider=f"p{index}") for index in range(10))
    desk.end(answered(claimed, calls=calls))
    found = sql.execute("SELECT provider FROM calls ORDER BY id").fetchall()
    (outcome,) = outcomes(database, [claimed.id])
    database.close()
    assert [provider for (provider,) in found] == [one.provider for one in calls]
    assert outcome.provider == "p9"  # the last one called gave the answer


@pytest.mark.parametrize("status", [Status.failed, Status.expired, Status.cancelled])
def test_an_end_without_an_answer_appends_nothing_and_keeps_the_text(desk: Desk, sql: Sql, status: Status) -> None:
    claimed = desk.running(text="remember me")
    desk.end(ending(claimed, status, reason="why", error="Traceback …", messages=(Message("user", "no"),)))
    assert row(sql, claimed.id, "status, head, text, reason") == (status, False, "remember me", "why")
    assert count(sql, "messages") == 0
    assert sql.execute("SELECT outcome, reason, error, delay FROM attempts").fetchall() == [
        (status, "why", "Traceback …", None)
    ]


def test_what_was_never_claimed_ends_without_an_attempt(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new())
    ended = desk.end(cancellation(standing(desk.database, one.id)))
    assert ended.ids == {one.id}
    assert ended.outcomes == {"here": [one.id]}
    assert count(sql, "attempts") == 0
    assert row(sql, one.id, "status, attempts, started_at") == ("cancelled", 0, None)


def test_an_attempt_that_lost_its_claim_cannot_write(desk: Desk, sql: Sql) -> None:
    slow = desk.running()
    desk.end(ending(slow, Status.retrying, reason="worker_lost", delay=0))
    assert desk.end(answered(slow, "before anybody has taken over")).ids == set()
    taken_over = desk.claim_one(slow.id)
    assert desk.end(answered(slow, "too late")).ids == set()
    assert row(sql, slow.id, "status, fence") == ("running", taken_over.fence)
    assert desk.end(answered(taken_over, "in time")).ids == {slow.id}
    assert desk.end(answered(slow, "much too late")).ids == set()
    assert [one.text for one in outcomes(desk.database, [slow.id])] == ["in time"]
    assert violations(sql) == []


def test_calls_of_an_attempt_that_lost_its_claim_are_kept(desk: Desk, sql: Sql) -> None:
    slow = desk.running()
    desk.end(ending(slow, Status.retrying, delay=0))
    desk.end(answered(again := desk.claim_one(slow.id), calls=(CALL,)))
    desk.end(answered(slow, calls=(CALL, CALL)))
    account(desk.database, slow.id, slow.attempt, slow.fence, [CALL])
    assert sql.execute("SELECT attempt, fence, count(*) FROM calls GROUP BY 1, 2 ORDER BY 1").fetchall() == [
        (1, slow.fence, 3), (2, again.fence, 1)
    ]  # fmt: skip
    (outcome,) = outcomes(desk.database, [slow.id])
    assert (outcome.input_tokens, outcome.output_tokens) == (10, 4)  # of the attempt that answered


def test_what_has_ended_stays_as_it_ended(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(answered(claimed))
    before = row(sql, claimed.id, "status, finished_at, attempts")
    for status in (Status.failed, Status.cancelled, Status.expired, Status.succeeded, Status.retrying, Status.queued):
        for fence in (claimed.fence, None):
            ended = desk.end(ending(claimed, status, fence=fence, messages=(Message("user", "again"),)))
            assert (ended.ids, ended.outcomes, ended.publications) == (frozenset(), {}, [])
    assert row(sql, claimed.id, "status, finished_at, attempts") == before
    assert count(sql, "messages") == 2


def test_a_running_request_is_cancelled_over_its_workers_head(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.accept(after := new())
    ended = desk.end(ending(claimed, Status.cancelled, fence=None))
    assert [one.id for one in ended.publications] == [after.id]
    assert desk.end(answered(claimed, "too late")).ids == set()
    assert row(sql, claimed.id, "status") == ("cancelled",)
    assert sql.execute("SELECT outcome FROM attempts").fetchall() == [("cancelled",)]
    assert violations(sql) == []


def test_a_batch_ends_each_in_its_own_way(desk: Desk, sql: Sql) -> None:
    claims = [desk.running(user=f"u{index}", origin=f"o{index % 2}") for index in range(5)]
    lost = replace(answered(claims[4]), fence=99)
    ended = desk.end(
        answered(claims[0]), ending(claims[1], Status.failed), ending(claims[2], Status.retrying, delay=1),
        ending(claims[3], Status.expired), lost,
    )  # fmt: skip
    assert ended.ids == {one.id for one in claims[:4]}
    assert {origin: set(ids) for origin, ids in ended.outcomes.items()} == {
        "o0": {claims[0].id}, "o1": {claims[1].id, claims[3].id}
    }  # fmt: skip
    assert [row(sql, one.id, "status")[0] for one in claims] == [
        "succeeded",
        "failed",
        "retrying",
        "expired",
        "running",
    ]
    assert violations(sql) == []


def test_a_batch_is_all_or_nothing(desk: Desk, sql: Sql) -> None:
    good, bad = desk.running(user="u1"), desk.running(user="u2")
    with pytest.raises(Exception, match="role_known"):
        desk.end(answered(good), answered(bad, "no", Message("oracle", "?")))  # type: ignore[arg-type]
    assert [row(sql, one.id, "status")[0] for one in (good, bad)] == ["running", "running"]
    assert count(sql, "messages") == 0


def test_a_retry_with_a_countdown_keeps_its_place_and_is_due_later(desk: Desk, sql: Sql) -> None:
    claims = [desk.running(conversation=f"c{index}") for index in range(3)]
    desk.accept(new(conversation="later"))
    ended = desk.end(ending(claims[0], Status.retrying, reason="http_503", delay=20, countdown=True))
    assert (ended.publications, ended.outcomes) == ([], {})
    left = "extract(epoch FROM due_at - now())::float8 BETWEEN 15 AND 20"
    assert row(sql, claims[0].id, f"status, head, publications, published_at IS NOT NULL, {left}") == (
        "retrying", True, 2, True, True
    )  # fmt: skip
    assert sql.execute("SELECT outcome, reason, delay FROM attempts").fetchall() == [("retried", "http_503", 20.0)]
    assert violations(sql) == []


def test_a_retry_without_a_countdown_makes_room_for_another(desk: Desk, sql: Sql) -> None:
    claims = [desk.running(conversation=f"c{index}") for index in range(3)]
    desk.accept(waiting := new(conversation="later"), behind := new(conversation="c0"))
    ended = desk.end(ending(claims[0], Status.retrying, delay=120))
    assert [one.id for one in ended.publications] == [waiting.id]
    assert row(sql, claims[0].id, "status, head, published_at") == ("retrying", True, None)
    assert row(sql, behind.id, "head") == (False,)  # its session waits
    assert violations(sql) == []


def test_a_retry_without_delay_is_published_at_once(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    ended = desk.end(ending(claimed, Status.retrying, reason="worker_lost", delay=0))
    assert [(one.id, one.number) for one in ended.publications] == [(claimed.id, 2)]
    assert desk.claim_one(claimed.id).attempt == 2
    assert violations(sql) == []


def test_a_deferral_is_no_attempt_and_waits_in_the_ledger(desk: Desk, sql: Sql) -> None:
    claimed = desk.running(max_attempts=1)
    ended = desk.end(ending(claimed, Status.queued, reason="breaker_open", delay=30))
    assert (ended.ids, ended.outcomes, ended.publications) == (frozenset({claimed.id}), {}, [])
    waits = "status, attempts, reason, published_at, started_at, round(extract(epoch FROM due_at - now()))::int"
    assert row(sql, claimed.id, waits) == ("queued", 0, "breaker_open", None, None, 30)
    assert count(sql, "attempts") == 0
    sql.execute("UPDATE requests SET due_at = now()")
    desk.accept(new(conversation="another"))
    assert [one.id for one in recover.due(desk.database, concurrency=desk.concurrency)] == [claimed.id]
    again = desk.claim_one(claimed.id)
    assert again.fence > claimed.fence
    assert again.attempt == 1
    desk.end(answered(again))
    assert violations(sql) == []


def test_a_deferral_after_a_retry_keeps_the_attempts_that_were_made(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(ending(claimed, Status.retrying, reason="http_503", delay=0))
    desk.end(ending(desk.claim_one(claimed.id), Status.queued, reason="breaker_open", delay=0))
    assert row(sql, claimed.id, "attempts, started_at IS NULL") == (1, False)
    assert desk.claim_one(claimed.id).attempt == 2


def test_the_money_spent_today_is_summed_by_provider_with_the_calls(desk: Desk, sql: Sql) -> None:
    now = datetime.now(UTC)
    dear = replace(CALL, started_at=now, finished_at=now, cost=0.25)
    old = replace(dear, finished_at=now - timedelta(days=1))
    free = replace(dear, provider="free", cost=None)
    desk.end(answered(desk.running(), calls=(dear, dear, old, free)))
    lost = desk.running()
    account(desk.database, lost.id, 1, lost.fence, [replace(dear, provider="second")])
    assert spending.today(desk.database) == {"first": 0.5, "second": 0.25}
    assert count(sql, "spending") == 3


def test_what_a_worker_gives_back_runs_again_at_once(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    ended = desk.end(ending(claimed, Status.queued, reason="shutdown"))
    assert [one.id for one in ended.publications] == [claimed.id]
    assert row(sql, claimed.id, "status") == ("queued",)


def test_sessions_with_more_hot_messages_than_allowed_are_named(desk: Desk, sql: Sql) -> None:
    desk.converse(turns=2)
    assert desk.end(answered(desk.running(conversation="short")), most_hot=4).crowded == ()
    assert desk.end(answered(desk.running()), most_hot=6).crowded == ()
    one = desk.running()
    assert desk.end(answered(one), most_hot=6).crowded == (one.session_id,)
    assert desk.end(answered(desk.running())).crowded == ()  # nobody asked
    sql.execute("UPDATE sessions SET restored_until = now() + interval '1 hour'")
    assert desk.end(answered(desk.running()), most_hot=6).crowded == ()
    sql.execute("UPDATE sessions SET restored_until = now()")
    sql.execute(
        "INSERT INTO archives (session_id, first_number, last_number, message_count, token_count, oldest_at, newest_at,"
        " name, archived_at, next_try_at) VALUES (%s, 1, 2, 2, 1, now(), now(), 'x', now(), now())",
        [one.session_id],
    )
    assert desk.end(answered(desk.running()), most_hot=6).crowded == ()  # somebody is at it


def test_the_longest_turn_that_an_agent_may_leave_is_kept(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    tool = Message("tool", "x" * (TURN_MAX // 2), tool_call_id="1")
    assert desk.end(answered(claimed, "\N{ROMAN NUMERAL ONE}" * (TURN_MAX // 6), tool)).ids == {claimed.id}
    sizes = sql.execute("SELECT octet_length(content) FROM messages WHERE role <> 'user' ORDER BY number").fetchall()
    assert sum(size for (size,) in sizes) == pytest.approx(TURN_MAX, rel=1e-6)


def test_what_postgres_will_never_take_is_not_asked_again_and_again(store: Database) -> None:
    def ask_for_the_impossible() -> None:
        with store.connection() as connection:
            connection.execute("SELECT repeat('[', 100000)::jsonb")

    with pytest.raises(errors.StatementTooComplex):
        store.until_available(ask_for_the_impossible, give_up=lambda: False)
