"""Each invariant that SQL can see is seen: it holds of what the ledger writes, and breaks when it is broken by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest

from pipeline.schemas import Message, Status
from pipeline.store import invariants
from pipeline.store.database import Database
from tests.servers import SharedPostgres
from tests.store.desk import Desk, Sql, answered, ending, new

#: What would keep these tests from breaking anything.
GUARDS = (
    "ALTER TABLE messages DISABLE TRIGGER USER",
    "ALTER TABLE requests DISABLE TRIGGER USER",
    "ALTER TABLE archives DISABLE TRIGGER USER",
    "DROP INDEX uq_archives_live",
    "ALTER TABLE sessions DROP CONSTRAINT ck_sessions_archived_through_known",
    "ALTER TABLE requests DROP CONSTRAINT ck_requests_attempts_bounded",
    "ALTER TABLE requests DROP CONSTRAINT ck_requests_only_a_head_runs",
    "ALTER TABLE requests DROP CONSTRAINT ck_requests_head_is_unfinished",
    "ALTER TABLE messages DROP CONSTRAINT uq_messages_request_id_part",
    "ALTER TABLE messages DROP CONSTRAINT pk_messages",
    "ALTER TABLE attempts DROP CONSTRAINT pk_attempts",
    "DROP INDEX uq_requests_head",
    "ALTER TABLE requests ALTER COLUMN outcome DROP EXPRESSION",
)

#: The requests of the ledger below, by position: two answered ones, a failed, a running and a waiting one.
FIRST, SECOND, FAILED, RUNNING, WAITING = range(1, 6)


class Broken(NamedTuple):
    """A way to break rules, by hand: the statement, and the rules that it breaks."""

    statement: str
    rules: set[str]


def archived(*ranges: tuple[int, int, str]) -> str:
    """Archives of these first and last numbers, and status."""
    values = ", ".join(f"({first}, {last}, '{status}')" for first, last, status in ranges)
    return (
        "INSERT INTO archives (session_id, first_number, last_number, message_count, token_count, oldest_at, newest_at,"
        " name, status, archived_at, live_at, sha256, bytes, next_try_at) SELECT s.id, first, last, last - first + 1,"
        " 1, s.created_at, now(), first || '-' || last, a.status, now(), now(), '', 1, now()"
        f" FROM sessions AS s, (VALUES {values}) AS a(first, last, status)"
    )


#: The first turn has left the table.
GONE = "gone AS (DELETE FROM messages WHERE number <= 2) UPDATE sessions SET archived_through = 2"


def of(position: int) -> str:
    return f"(SELECT id FROM requests WHERE position = {position})"


BROKEN = {
    "a late request is open": Broken(
        f"UPDATE requests SET deadline = now() - interval '1 minute' WHERE position = {WAITING}",
        {"accepted_means_kept"},
    ),
    "an answered request keeps its text": Broken(
        f"UPDATE requests SET text = 'secret' WHERE position = {FIRST}", {"text_in_one_place"}
    ),
    "a waiting request has lost its text": Broken(
        f"UPDATE requests SET text = NULL WHERE position = {WAITING}", {"text_in_one_place"}
    ),
    "a request is answered a second time": Broken(
        "WITH again AS (INSERT INTO messages (session_id, number, request_id, part, role, content)"
        " SELECT session_id, number + 4, request_id, part, role, content FROM messages"
        f" WHERE request_id = {of(SECOND)})"
        " UPDATE sessions SET last_number = last_number + 4",
        {"answered_once", "a_turn_stands_together"},
    ),
    "a request is answered a second time, as if it were one turn": Broken(
        "WITH again AS (INSERT INTO messages (session_id, number, request_id, part, role, content)"
        f" SELECT session_id, number + 4, request_id, part + 4, role, content FROM messages"
        f" WHERE request_id = {of(SECOND)})"
        " UPDATE sessions SET last_number = last_number + 4",
        {"answered_once"},
    ),
    "a succeeded request has no messages": Broken(
        f"WITH gone AS (DELETE FROM messages WHERE request_id = {of(SECOND)})"
        " UPDATE sessions SET last_number = last_number - 4",
        {"succeeded_is_answered"},
    ),
    "a succeeded request has no answer": Broken(
        f"WITH gone AS (DELETE FROM messages WHERE request_id = {of(SECOND)} AND part = 4)"
        " UPDATE sessions SET last_number = last_number - 1",
        {"succeeded_is_answered"},
    ),
    "a succeeded request has lost what was between": Broken(
        f"UPDATE messages SET part = part + 1 WHERE request_id = {of(SECOND)} AND part = 4",
        {"succeeded_is_answered", "a_turn_stands_together"},
    ),
    "a failed request has messages": Broken(
        "WITH said AS (INSERT INTO messages (session_id, number, request_id, part, role, content)"
        f" SELECT id, last_number + 1, {of(FAILED)}, 1, 'user', 'hello' FROM sessions)"
        " UPDATE sessions SET last_number = last_number + 1",
        {"unanswered_is_silent"},
    ),
    "two attempts succeeded": Broken(
        f"UPDATE attempts SET outcome = 'succeeded' WHERE request_id = {of(FIRST)}", {"one_success"}
    ),
    "an attempt of a failed request succeeded": Broken(
        f"UPDATE attempts SET outcome = 'succeeded' WHERE request_id = {of(FAILED)}", {"one_success"}
    ),
    "a session has two heads": Broken(f"UPDATE requests SET head = true WHERE position = {WAITING}", {"one_at_a_time"}),
    "a session runs two": Broken(
        f"UPDATE requests SET status = 'running', attempts = 1 WHERE position = {WAITING}",
        {"one_at_a_time", "the_first_goes_first"},
    ),
    "nobody's turn has come": Broken(
        f"UPDATE requests SET head = false, status = 'queued', attempts = 0 WHERE position = {RUNNING}",
        {"the_first_goes_first"},
    ),
    "the second goes first": Broken(
        f"UPDATE requests SET head = (position = {WAITING}), status = 'queued', attempts = 0 WHERE finished_at IS NULL",
        {"the_first_goes_first"},
    ),
    "answers have changed places": Broken(
        f"UPDATE requests SET position = CASE position WHEN {FIRST} THEN 100 ELSE 99 END WHERE position <= {SECOND}",
        {"answers_in_order"},
    ),
    "an answer came before its turn": Broken(
        f"UPDATE requests SET position = 100 WHERE position = {SECOND}", {"answers_in_order"}
    ),
    "a number is missing": Broken(
        "DELETE FROM messages WHERE number = 5", {"numbered_without_gap", "succeeded_is_answered"}
    ),
    "a number is there twice": Broken(
        "UPDATE messages SET number = 3 WHERE number = 2", {"numbered_without_gap", "a_turn_stands_together"}
    ),
    "a session counts other than its messages": Broken("UPDATE sessions SET last_number = 7", {"numbered_without_gap"}),
    "what was archived is in no archive": Broken(
        "WITH gone AS (DELETE FROM messages WHERE number <= 2) UPDATE sessions SET archived_through = 2",
        {"archived_without_gap", "succeeded_is_answered"},
    ),
    "what was archived is hot": Broken(
        f"WITH kept AS ({archived((1, 2, 'live'))}) UPDATE sessions SET archived_through = 2", {"numbered_without_gap"}
    ),
    "a number is in two archives": Broken(
        f"WITH kept AS ({archived((1, 2, 'live'), (2, 2, 'live'))}), {GONE}", {"archived_without_gap"}
    ),
    "a newer archive has expired before an older one": Broken(
        f"WITH kept AS ({archived((1, 1, 'live'), (2, 2, 'expired'))}), {GONE}", {"expired_first"}
    ),
    "a summary tells of what never was": Broken(
        "INSERT INTO summaries (session_id, first_number, through_number, text, by, tokens)"
        " SELECT id, 1, last_number + 1, 'invented', 'extractive', 2 FROM sessions",
        {"summary_of_what_there_is"},
    ),
    "a turn is in disorder": Broken(
        f"UPDATE messages SET number = 9 - number WHERE request_id = {of(SECOND)}", {"a_turn_stands_together"}
    ),
    "a request was tried too often": Broken(
        f"UPDATE requests SET max_attempts = 1 WHERE position = {FIRST}", {"attempts_bounded"}
    ),
    "an attempt is missing": Broken(
        f"DELETE FROM attempts WHERE request_id = {of(FIRST)} AND number = 1", {"attempts_recorded"}
    ),
    "an attempt is there twice": Broken(
        f"UPDATE attempts SET number = 1 WHERE request_id = {of(FIRST)}", {"attempts_recorded"}
    ),
    "an answer came too late": Broken(
        f"UPDATE requests SET deadline = finished_at - interval '1 minute' WHERE position = {FIRST}",
        {"answered_in_time"},
    ),
    "a delay is over its cap": Broken(
        f"UPDATE attempts SET reason = 'timeout', delay = 31 WHERE request_id = {of(FIRST)} AND number = 1",
        {"delays_capped"},
    ),
    "a delay of a provider's fault is over its cap, and no provider was there to ask for it": Broken(
        f"UPDATE attempts SET reason = 'http_503', delay = 31 WHERE request_id = {of(FIRST)} AND number = 1",
        {"delays_capped"},
    ),
    "a delay goes beyond all the time that its request had": Broken(
        f"UPDATE attempts SET reason = 'rate_limit', delay = 3700 WHERE request_id = {of(FIRST)} AND number = 1",
        {"delays_capped"},
    ),
    "a lost worker's request had to wait": Broken(
        f"UPDATE attempts SET reason = 'worker_lost', delay = 1 WHERE request_id = {of(FIRST)} AND number = 1",
        {"delays_capped"},
    ),
}


TABLES = ("users", "workers", "sessions", "requests", "attempts", "calls", "messages", "archives", "summaries")


def write_ledger(desk: Desk) -> None:
    """A session's requests in every state that a rule tells apart, by the ledger's own verbs."""
    requests = [new() for _ in range(WAITING)]
    desk.accept(*requests)
    tried = desk.claim_one(requests[0].id)
    desk.end(ending(tried, Status.retrying, reason="http_503", delay=0.0, countdown=True))
    desk.end(answered(desk.claim_one(requests[0].id)))
    tool = Message("tool", "found", tool_call_id="1")
    desk.end(answered(desk.claim_one(requests[1].id), "Knuth.", Message("assistant", "", ({"id": "1"},)), tool))
    desk.end(ending(desk.claim_one(requests[2].id), Status.failed, reason="http_4xx"))
    desk.claim_one(requests[3].id)


@pytest.fixture
def ledger(desk: Desk, store: Database) -> Database:
    write_ledger(desk)
    return store


@pytest.fixture(scope="module")
def unguarded(shared_postgres: SharedPostgres) -> Iterator[str]:
    """The same ledger in a database that guards nothing, and keeps a copy of it."""
    name = f"test_{uuid4().hex}"
    url = shared_postgres.clone(name)
    store = Database(url)
    write_ledger(Desk(store))
    store.close()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA kept")
        for table in TABLES:
            connection.execute(f"CREATE TABLE kept.{table} AS TABLE {table}")
        for guard in GUARDS:
            connection.execute(guard)
    yield url
    shared_postgres.drop(name)


@pytest.fixture
def broken(unguarded: str) -> Iterator[tuple[Database, Sql]]:
    """That ledger as it was, and a way to break it."""
    store = Database(unguarded)
    with psycopg.connect(unguarded, autocommit=True) as connection:
        with connection.transaction():
            connection.execute(f"TRUNCATE {', '.join(TABLES)}")
            for table in TABLES:
                connection.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE kept.{table}")
        yield store, connection
    store.close()


def test_what_the_ledger_writes_breaks_no_rule(ledger: Database) -> None:
    assert invariants.check(ledger) == []


@pytest.mark.parametrize("way", BROKEN)
def test_it_is_seen_that(way: str, broken: tuple[Database, Sql]) -> None:
    store, sql = broken
    statement, rules = BROKEN[way]
    assert invariants.check(store) == []
    sql.execute(statement)
    assert {violation.name for violation in invariants.check(store)} == rules


def test_every_rule_is_tried() -> None:
    assert {rule.name for rule in invariants.RULES} == set().union(*(broken.rules for broken in BROKEN.values()))


def test_a_provider_may_ask_for_more_than_the_cap(ledger: Database, sql: Sql) -> None:
    sql.execute("UPDATE attempts SET reason = 'http_429', delay = 120 WHERE number = 1 AND delay IS NOT NULL")
    assert [violation.name for violation in invariants.check(ledger)] == ["delays_capped"], "none has answered"
    sql.execute("""
        INSERT INTO calls (request_id, attempt, fence, provider, model, started_at, finished_at, status_code, reason,
            input_tokens, output_tokens, choice)
        SELECT request_id, number, fence, 'first', 'big', started_at, finished_at, 429, 'http_429', 0, 0, 'first'
        FROM attempts WHERE number = 1
    """)
    assert invariants.check(ledger) == []


def test_grace_and_cap_are_the_callers(ledger: Database, sql: Sql) -> None:
    sql.execute("UPDATE requests SET deadline = now() - interval '2 seconds' WHERE finished_at IS NULL")
    sql.execute("UPDATE attempts SET reason = 'timeout', delay = 5 WHERE delay IS NOT NULL")
    assert invariants.check(ledger) == []
    found = invariants.check(ledger, grace=1, max_delay=4)
    assert [violation.name for violation in found] == ["accepted_means_kept", "delays_capped"]


def test_a_violation_counts_all_and_names_a_few(desk: Desk, store: Database, sql: Sql) -> None:
    requests = [replace(new(), conversation_id=str(number)) for number in range(invariants.EXAMPLES + 2)]
    desk.accept(*requests)
    sql.execute("UPDATE requests SET text = NULL")
    (violation,) = invariants.check(store)
    assert violation.count == len(requests)
    assert len(violation.examples) == invariants.EXAMPLES
    assert set(violation.examples) < {str(request.id) for request in requests}
    assert str(violation).startswith("text_in_one_place: not true that a question is kept")
