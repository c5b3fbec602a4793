"""How the verbs of the hot path find their rows. A plan is kept, and made while tables are small."""

from __future__ import annotations

from contextlib import closing

from pipeline.store.database import Database
from pipeline.store.ledger import outcomes, recover
from tests.store.desk import Desk, Sql, answered, new

#: More than psycopg's threshold, so that each statement is prepared and its plan kept.
ROUNDS = 8


def one_round(desk: Desk, number: int) -> None:
    """A request's whole way, by each verb once."""
    claimed = desk.running(user=f"user {number}")
    desk.end(answered(claimed))
    assert len(outcomes(desk.database, [claimed.id])) == 1


def rows_read_in_sequence(database: Database) -> dict[str, int]:
    """By table, how many rows were read by scans of the whole."""
    with database.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        rows = connection.execute("SELECT relname, seq_tup_read FROM pg_stat_user_tables").fetchall()
    return {str(name): int(count) for name, count in rows}


def test_no_verb_of_the_hot_path_reads_a_whole_table_that_was_small_when_its_plan_was_made(desk: Desk) -> None:
    for number in range(ROUNDS):
        one_round(desk, number)
    before = rows_read_in_sequence(desk.database)
    for number in range(ROUNDS):
        one_round(desk, number + ROUNDS)
    after = rows_read_in_sequence(desk.database)
    # There are few workers, always: reading all of them is the cheapest.
    grown = {name for name, count in after.items() if count > before[name]} - {"workers"}
    assert not grown, {name: (before[name], after[name]) for name in grown}


def test_no_look_of_recovery_reads_the_whole_past(desk: Desk, sql: Sql) -> None:
    desk.converse()
    sql.execute("""
        INSERT INTO requests (id, session_id, user_id, position, agent, priority, rank, metadata, origin, stream_key,
            head, status, max_attempts, timeout, accepted_at, deadline, due_at, published_at, queue, finished_at)
        SELECT gen_random_uuid(), session_id, user_id, n + 1, agent, priority, rank, metadata, origin, stream_key,
            false, 'succeeded', max_attempts, timeout, now(), now(), now(), now(), 1, now()
        FROM requests, generate_series(1, 20000) AS n
    """)
    desk.accept(*(new("ada", conversation=f"c{number}") for number in range(10)))
    sql.execute("VACUUM ANALYZE requests")  # as autovacuum does in its time: plans are made anew after it
    before = rows_read_in_sequence(desk.database)
    for _ in range(ROUNDS):
        recover.stranded(desk.database, patience=3)
        recover.lost(desk.database, grace=5, empty_queues=[1])
        recover.aged(desk.database, ageing=60)
        recover.due(desk.database, concurrency=3)
    after = rows_read_in_sequence(desk.database)
    assert after["requests"] == before["requests"]


def test_a_claim_is_a_heap_only_update_and_writes_no_index_anew(ledger_url: str) -> None:
    with closing(Database(ledger_url, size=1)) as database:  # what it counts, the same connection tells
        desk = Desk(database)
        asked = [new(user=f"user {number}") for number in range(5)]
        desk.accept(*asked)
        every, heap_only = updates_of_requests(database)
        assert len(desk.claim(*(one.id for one in asked))) == len(asked)
        assert updates_of_requests(database) == (every + len(asked), heap_only + len(asked))


def updates_of_requests(database: Database) -> tuple[int, int]:
    """All, and those that wrote no index."""
    with database.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        rows = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'requests'"
        ).fetchall()
    return rows[0][0], rows[0][1]
