"""Two transactions that meet over one user or session: each order of them in which something was once lost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pipeline import Client
from pipeline.schemas import Call, Priority
from pipeline.store import erasures, retention
from pipeline.store.database import Connection, Database
from pipeline.store.erasures.erase import ERASE
from pipeline.store.ledger import account
from pipeline.store.ledger.claim import CLAIM
from pipeline.store.ledger.recover import DUE
from pipeline.store.measures import users as labels
from tests.erasure.test_unfinished import ADA, goes_on
from tests.servers import eventually
from tests.store.desk import WAITING, Desk, Sql, accept_by, answered, count, new, row

Threads = ThreadPoolExecutor


@pytest.fixture
def threads() -> Iterator[Threads]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def other(ledger_url: str, threads: Threads) -> Iterator[Connection]:
    """Another process's connection, in a transaction. It goes first, so that no thread waits for it."""
    del threads
    with psycopg.connect(ledger_url) as connection:
        yield connection


def wait_for(sql: Sql, waiting: int) -> None:
    eventually(lambda: count(sql, WAITING) == waiting, 10, what=f"{waiting} wait for a lock")


def erase_by(connection: Connection, store: Database) -> None:
    """Erase all of ada's, but for the commit."""
    id_ = erasures.begin(store, ADA)
    known = erasures.unfinished(store, id_)
    assert known is not None
    ERASE._result(connection, (id_, list(known.sessions), 600.0, 600.0, 1))


def test_a_user_who_is_erased_while_a_request_is_accepted_is_made_anew(client: Client, sql: Sql) -> None:
    sql.execute("INSERT INTO users (user_id) VALUES ('ada')")
    with psycopg.connect(client._settings.database) as eraser, ThreadPoolExecutor(1) as threads:
        eraser.execute("SELECT FROM users FOR UPDATE")
        accepting = threads.submit(client.submit, "a question", user_id="ada", conversation_id="thesis")
        eventually(lambda: count(sql, WAITING), 30, what="it waits for the user's row, which it has seen")
        eraser.execute("DELETE FROM users")
        eraser.commit()
        handle = accepting.result(30)
    assert handle.status() == "queued"


def test_one_who_is_not_known_is_erased_while_their_first_request_is_accepted(
    store: Database, desk: Desk, sql: Sql, ledger_url: str
) -> None:
    with psycopg.connect(ledger_url) as other, ThreadPoolExecutor(2) as threads:
        other.execute("LOCK TABLE metric_users IN ACCESS EXCLUSIVE MODE")
        erasing = threads.submit(erasures.begin, store, ADA)
        eventually(lambda: count(sql, WAITING) == 1, 10, what="it has seen that there is no session")
        accepting = threads.submit(desk.accept, new())
        eventually(
            lambda: accepting.done() or count(sql, WAITING) == 2, 10, what="it is accepted, or waits for its turn"
        )
        other.rollback()
        erasing.result(30)
        accepting.result(30)
    assert [count(sql, table) for table in ("users", "sessions", "requests")] == [1, 1, 1]


def test_erasing_a_session_of_one_who_is_not_known_leaves_nothing_of_their_name(client: Client, sql: Sql) -> None:
    client.erase("ada", "thesis")
    client.erase("ada")
    assert count(sql, "users") == 0


def test_a_user_is_forgotten_though_their_last_session_goes_with_an_erasure_of_its_own(
    client: Client, store: Database, desk: Desk, sql: Sql
) -> None:
    desk.accept(new())
    sql.execute("INSERT INTO metric_users (user_id) VALUES ('ada')")
    whole = erasures.begin(store, ADA)
    assert client.erase("ada", "thesis").sessions == 1
    goes_on(client, sql, whole)
    assert [count(sql, table) for table in ("users", "metric_users")] == [0, 0]


def test_a_session_that_is_erased_alone_leaves_its_user(client: Client, desk: Desk, sql: Sql) -> None:
    desk.accept(new(), new(conversation="other"))
    client.erase("ada", "thesis")
    assert [count(sql, table) for table in ("users", "sessions")] == [1, 1]


def test_a_key_whose_request_is_forgotten_meanwhile_is_accepted_anew(
    store: Database, desk: Desk, sql: Sql, other: Connection, threads: Threads
) -> None:
    keyed: dict[str, Any] = {"idempotency_key": "k", "content_hash": b"h"}
    old, again = (new(id=UUID(int=n), **keyed) for n in (1, 2))
    desk.accept(old, new(conversation="other"))
    desk.end(answered(desk.claim_one(old.id)))
    other.execute("SELECT FROM sessions WHERE conversation_id = 'other' FOR NO KEY UPDATE")
    accepting = threads.submit(desk.accepted, again, new(conversation="other"))
    wait_for(sql, 1)  # it has seen the key
    assert retention.forget_requests(store, age=0) == 1
    other.rollback()
    (accepted, _), _ = accepting.result(30)
    assert accepted.id == again.id
    assert row(sql, again.id, "status") == ("queued",)


def test_an_interruption_that_meets_a_claim_is_told_to_its_worker(
    desk: Desk, sql: Sql, other: Connection, threads: Threads
) -> None:
    desk.accept(one := new(priority=Priority.batch))
    CLAIM._result(other, ([one.id], desk.worker_id, 50, 1_000_000, []))
    accepting = threads.submit(desk.accepted, new(priority=Priority.urgent, on_busy="interrupt"))
    wait_for(sql, 1)
    other.commit()
    (accepted,), _ = accepting.result(30)
    assert accepted.interrupts == (one.id, desk.worker_id)
    assert row(sql, one.id, "status, interrupted_at IS NOT NULL") == ("running", True)


def test_who_waited_for_a_user_who_was_erased_and_came_back_hands_on_nothing_of_theirs(
    store: Database, desk: Desk, sql: Sql, other: Connection, threads: Threads
) -> None:
    desk.accept(new())
    erase_by(other, store)
    due = threads.submit(DUE.call, store, ["ada"], 1)
    wait_for(sql, 1)
    back = new(conversation="later")
    accept_by(other, back, concurrency=0)
    other.commit()
    assert due.result(30) == [], "it does not hold the one who came back"
    assert [one[0] for one in DUE.call(store, ["ada"], 1)] == [str(back.id)]


def test_users_who_are_erased_and_come_back_cost_nobody_a_deadlock(
    desk: Desk, sql: Sql, ledger_url: str, other: Connection, threads: Threads
) -> None:
    sql.execute("INSERT INTO users (user_id) VALUES ('ada'), ('bob')")
    faults = list[str]()

    def both(conversation: str) -> None:
        batch = [new(user, conversation) for user in ("ada", "bob")]

        def once() -> None:
            try:
                desk.accept(*batch)
            except psycopg.Error as fault:
                faults.append(type(fault).__name__)
                raise

        desk.database.patiently(once)

    with psycopg.connect(ledger_url) as eraser:
        eraser.execute("SELECT FROM users WHERE user_id = 'ada' FOR UPDATE")
        other.execute("SELECT FROM users WHERE user_id = 'bob' FOR NO KEY UPDATE")
        first = threads.submit(both, "1")
        wait_for(sql, 1)  # for ada, whom it has seen
        eraser.execute("DELETE FROM users WHERE user_id = 'ada'")
    wait_for(sql, 1)  # for bob
    second = threads.submit(both, "2")
    wait_for(sql, 2)  # it has made ada anew, and waits for bob
    other.rollback()
    first.result(30)
    second.result(30)
    assert faults == ["SerializationFailure"], "which costs a new try at once, and a deadlock a second"
    assert count(sql, "requests") == 4


def test_one_who_is_being_erased_is_given_no_label(
    store: Database, desk: Desk, sql: Sql, other: Connection, threads: Threads
) -> None:
    desk.converse()
    erase_by(other, store)
    claiming = threads.submit(labels.claim, store, ["ada"], most=10)
    eventually(lambda: claiming.done() or count(sql, WAITING), 10, what="it waits for what becomes of her")
    other.commit()
    assert claiming.result(30) == set()
    assert (count(sql, "users"), count(sql, "metric_users")) == (0, 0)


def test_a_label_that_is_given_before_its_user_is_erased_goes_with_them(
    client: Client, desk: Desk, sql: Sql, other: Connection, threads: Threads
) -> None:
    desk.converse()
    other.execute(labels.GIVE, {"users": ["ada"], "most": 10})
    erasing = threads.submit(client.erase, "ada")
    wait_for(sql, 1)
    other.commit()
    assert erasing.result(30).complete
    assert (count(sql, "users"), count(sql, "metric_users")) == (0, 0)


def test_calls_of_a_request_that_is_being_erased_are_no_fault(
    store: Database, desk: Desk, sql: Sql, other: Connection, threads: Threads
) -> None:
    claimed = desk.running()
    now = datetime.now(UTC)
    erase_by(other, store)
    accounting = threads.submit(account, store, claimed.id, 1, claimed.fence, [Call("p", "m", now, None, now)])
    wait_for(sql, 1)
    other.commit()
    accounting.result(30)
    assert count(sql, "calls") == 0
