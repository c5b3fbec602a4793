"""Retention: what has been kept long enough goes, and nothing that something refers to."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from pipeline import Client, metrics, worker
from pipeline.archive.archiver import Archiver
from pipeline.client import submission
from pipeline.schemas import Call, Status, Usage
from pipeline.store import archives, erasures, invariants, retention, spending
from pipeline.store.database import Database
from pipeline.store.erasures import Scope
from pipeline.worker.upkeep import DAY, Upkeep
from tests.archive.library import Library
from tests.store.desk import Desk, Sql, answered, count, ending, new, row

Connect = Callable[..., Client]
Objects = Callable[[], list[str]]

#: Days.
KEPT = 30.0


@pytest.fixture
def upkeep(connect: Connect, store: Database) -> Callable[..., None]:
    """`upkeep(**settings)`: one look of a worker's."""

    def run(**settings: float) -> None:
        client = connect(**settings)
        Upkeep(store, client._eraser, client._settings).run()

    return run


@pytest.fixture
def back_then(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`back_then(days)`: ids from now on are so old."""
    clock = time.time_ns

    def set_back(days: float) -> None:
        monkeypatch.setattr("pipeline.client.submission.time.time_ns", lambda: int(clock() - days * DAY * 1e9))

    return set_back


@pytest.fixture
def ended(desk: Desk, sql: Sql, back_then: Callable[[float], None]) -> Callable[..., UUID]:
    """`ended(days, status)`: a request that ended so long ago, with an attempt and a call."""

    def end(days: float, status: Status = Status.failed, conversation: str = "thesis") -> UUID:
        back_then(days)
        now = datetime.now(UTC)
        call = Call("mistral", "large", now, None, now, 503, "http_503", Usage())
        one = new(id=submission.time_ordered_id(), conversation=conversation)
        desk.accept(one)
        claimed = desk.claim_one(one.id)
        desk.end(
            answered(claimed, calls=(call,))
            if status is Status.succeeded
            else ending(claimed, status, reason="agent_error", calls=(call,))
        )
        # the trigger guards outcomes, so the past is made without it
        sql.execute("ALTER TABLE requests DISABLE TRIGGER outcomes_are_final")
        sql.execute("UPDATE requests SET finished_at = now() - %s * interval '1 day' WHERE id = %s", [days, one.id])
        sql.execute("ALTER TABLE requests ENABLE TRIGGER outcomes_are_final")
        return one.id

    return end


def left(sql: Sql) -> set[UUID]:
    return {found[0] for found in sql.execute("SELECT id FROM requests")}


def test_requests_that_ended_long_ago_go_with_attempts_and_calls(
    upkeep: Callable[..., None], ended: Callable[..., UUID], sql: Sql
) -> None:
    ended(KEPT + 1)
    ended(KEPT + 1, Status.succeeded)
    recent = ended(KEPT - 1)
    upkeep()
    assert left(sql) == {recent}
    assert (count(sql, "attempts"), count(sql, "calls")) == (1, 1)
    assert count(sql, "messages") == 2  # they are hot, and stay


def test_how_long_is_a_setting(upkeep: Callable[..., None], ended: Callable[..., UUID], sql: Sql) -> None:
    ended(3)
    recent = ended(1)
    upkeep(retention_days=2)
    assert left(sql) == {recent}


def test_a_request_without_an_outcome_stays(
    upkeep: Callable[..., None], back_then: Callable[[float], None], desk: Desk, sql: Sql
) -> None:
    back_then(KEPT + 1)
    one = new(id=submission.time_ordered_id(), deadline=90 * DAY)
    desk.accept(one)
    upkeep()
    assert left(sql) == {one.id}


def test_a_request_stays_while_one_is_to_repeat_it(
    upkeep: Callable[..., None], ended: Callable[..., UUID], desk: Desk, sql: Sql
) -> None:
    original = ended(KEPT + 1)
    replay = new()
    desk.accept(replay)
    sql.execute("UPDATE requests SET retry_of = %s WHERE id = %s", [original, replay.id])
    upkeep()
    assert left(sql) == {original, replay.id}
    desk.end(answered(desk.claim_one(replay.id)))
    upkeep()
    assert left(sql) == {replay.id}


def test_it_goes_in_small_batches(
    upkeep: Callable[..., None], ended: Callable[..., UUID], store: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        ended(KEPT + 1)
    assert retention.forget_requests(store, age=KEPT * DAY) == 2
    upkeep()
    assert left(sql) == set()


def test_a_backlog_goes_in_one_look_for_as_long_as_the_next_is_not_due(
    upkeep: Callable[..., None], ended: Callable[..., UUID], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    monkeypatch.setattr(worker.upkeep, "PAUSE", 0.001)
    for number in range(60):
        ended(KEPT + 1, conversation=f"{number}")
    upkeep(upkeep_interval=1e-6)
    assert len(left(sql)) == 59, "the next one is due at once"
    upkeep()
    assert left(sql) == set()


def test_an_erasure_that_cannot_go_on_keeps_neither_another_nor_retention_from_going(
    upkeep: Callable[..., None], ended: Callable[..., UUID], desk: Desk, store: Database, sql: Sql
) -> None:
    ended(KEPT + 1)
    of_bob, of_cy = new("bob"), new("cy")
    desk.accept(of_bob, of_cy)
    ids = [erasures.begin(store, Scope(one.user_id), hold=0) for one in (of_bob, of_cy)]
    counted = metrics.ERASURE_FAULTS.labels("postgres")
    before = counted._value.get()
    sql.execute("""
        CREATE FUNCTION too_slow() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION USING ERRCODE = 'query_canceled'; END $$;
        CREATE TRIGGER too_slow BEFORE DELETE ON requests FOR EACH ROW WHEN (OLD.user_id = 'bob')
            EXECUTE FUNCTION too_slow();
    """)
    try:
        upkeep()
    finally:
        sql.execute("DROP FUNCTION too_slow CASCADE")
    assert left(sql) == {of_bob.id}
    assert counted._value.get() == before + 1
    assert sql.execute("SELECT id FROM erasures WHERE finished_at IS NULL").fetchall() == [(ids[0],)]
    assert sql.execute(
        "SELECT failures FROM erasures WHERE next_try_at > now() AND finished_at IS NULL"
    ).fetchall() == [(1,)]


def test_one_kind_that_fails_keeps_no_other_from_going(
    upkeep: Callable[..., None], ended: Callable[..., UUID], store: Database, sql: Sql
) -> None:
    ended(KEPT + 1)
    sql.execute("INSERT INTO spending VALUES ((now() AT TIME ZONE 'UTC')::date - 4000, 'first', 0, 1)")
    counted = metrics.LEDGER_FAULTS.labels("upkeep_requests")
    before = counted._value.get()
    sql.execute("ALTER TABLE calls RENAME TO calls_away")
    try:
        upkeep()
    finally:
        sql.execute("ALTER TABLE calls_away RENAME TO calls")
    assert counted._value.get() == before + 1
    assert count(sql, "requests") == 1
    assert count(sql, "spending") == 0
    upkeep()
    assert left(sql) == set()


def test_old_requests_are_found_by_their_ids(sql: Sql) -> None:
    sql.execute("SET enable_seqscan = off")  # which it is tempted to on a table that is empty
    query = retention.FORGET_REQUESTS.replace("%(age)s", "86400").replace("%(most)s", "500")
    plan = "\n".join(line for (line,) in sql.execute(f"EXPLAIN {query}"))
    assert "Index Cond: (id < " in plan


# -- archives ---------------------------------------------------------------------------------------------------------


def archived(library: Library, archiver: Archiver, parts: int = 2) -> int:
    """A session with that many archives of two messages and more."""
    session = 0
    for _ in range(parts):
        session = library.converse(3)
        archiver.archive([session], force=True)
    return session


def test_archives_are_kept_for_ever_unless_a_time_is_set(
    upkeep: Callable[..., None], library: Library, archiver: Archiver, sql: Sql
) -> None:
    session = archived(library, archiver)
    sql.execute("UPDATE archives SET archived_at = archived_at - interval '20 years'")
    upkeep()
    assert library.statuses(session) == ["live", "live"]
    library.assert_whole(session)


def test_the_oldest_archives_expire_with_their_objects_and_the_rest_can_be_read(
    upkeep: Callable[..., None], library: Library, archiver: Archiver, sql: Sql, objects: Objects
) -> None:
    session = archived(library, archiver, 3)
    first, second, _ = library.live(session)
    sql.execute("UPDATE archives SET archived_at = archived_at - interval '10 days' WHERE id = %s", [second.id])
    sql.execute("UPDATE archives SET archived_at = archived_at - interval '11 days' WHERE id = %s", [first.id])
    upkeep(archive_retention_days=10.5)
    assert library.statuses(session) == ["expired", "live", "live"]
    assert first.name not in objects()
    assert len(objects()) == 2
    assert count(sql, "condemned_objects") == 0
    numbers = [one.number for one in library.read(session)]
    assert numbers == list(range(first.last_number + 1, library.standing().last_number + 1))
    assert invariants.check(library.database) == []


def test_a_session_at_work_is_left_for_the_next_round(
    library: Library, archiver: Archiver, store: Database, sql: Sql
) -> None:
    session = archived(library, archiver)
    sql.execute("UPDATE archives SET archived_at = archived_at - interval '10 days'")
    with store.connection() as other, other.transaction():
        other.execute("SELECT FROM sessions FOR UPDATE")
        assert retention.expire_archives(store, age=DAY) == 0
    assert library.statuses(session) == ["live", "live"]
    assert retention.expire_archives(store, age=DAY) == 2


def test_the_object_of_what_was_restored_goes_even_when_its_restorer_died(
    upkeep: Callable[..., None], library: Library, archiver: Archiver, sql: Sql, objects: Objects
) -> None:
    session = archived(library, archiver, 1)
    (archive,) = library.live(session)
    (document,) = library.documents(session)
    assert archives.restore(library.database, archive, document.history, grace=60)
    upkeep()
    assert objects() == [archive.name]  # whoever has restored it is given a minute
    sql.execute("UPDATE condemned_objects SET due_at = now()")
    upkeep()
    assert objects() == []
    library.assert_whole(session)


def test_a_request_of_the_archived_part_may_go(
    upkeep: Callable[..., None], library: Library, archiver: Archiver, ended: Callable[..., UUID], sql: Sql
) -> None:
    for _ in range(4):
        ended(KEPT + 1, Status.succeeded)
    archiver.archive([library.standing().session_id])
    upkeep()
    assert left(sql) == set()
    library.assert_whole(library.standing().session_id)
    assert row(sql, library.desk.running().id, "position") == (5,)  # the line goes on


def test_sums_of_money_go_once_a_year_ago_is_long_ago(upkeep: Callable[..., None], store: Database, sql: Sql) -> None:
    def days() -> list[int]:
        return [ago for (ago,) in sql.execute("SELECT (now() AT TIME ZONE 'UTC')::date - day FROM spending ORDER BY 1")]

    kept = [0, 1, 365, spending.KEPT]
    for ago in (*kept, spending.KEPT + 1, 4000):
        sql.execute(
            "INSERT INTO spending VALUES ((now() AT TIME ZONE 'UTC')::date - %s, 'first', 0, 1)",
            [ago],
        )
    upkeep()
    assert days() == kept
    assert spending.today(store) == {"first": 1.0}
