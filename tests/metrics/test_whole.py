"""A look at 100,000 requests and 10,000 sessions is exact, quick, and reads no table from end to end."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from contextlib import closing
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest
from prometheus_client import Metric
from structlog.testing import capture_logs

from pipeline import Client, Settings, beat
from pipeline.broker import connect
from pipeline.exporter import FRESH, Exporter
from pipeline.metrics import BROKER_FAULTS, EXPORTER_FAULTS, LEDGER_FAULTS
from pipeline.schemas import Status
from pipeline.serving import Server
from pipeline.store.database import Database
from pipeline.store.measures import whole
from pipeline.store.planning import THROUGH_INDEXES
from tests.servers import Broker, eventually

SESSIONS, REQUESTS, MESSAGES = 10_000, 100_000, 200_000

#: Seconds: a look without what was kept from the last; and how old what is served may be.
REFRESH_MAX, AGE_MAX = 1.0, 5.0

#: As the ledger would be after a day: all but the last 1,000 requests have ended.
FILL = f"""
SET session_replication_role = replica;  -- the triggers' work is not what is looked at
INSERT INTO users (user_id) SELECT 'user ' || n FROM generate_series(0, 999) AS n;
INSERT INTO metric_users (user_id) SELECT 'user ' || n FROM generate_series(0, 99) AS n;
INSERT INTO sessions (user_id, conversation_id, accepted, last_number, grown_at, oldest_hot_at)
SELECT 'user ' || n % 1000, n, 10, 20, CASE WHEN n % 20 = 0 THEN now() END,
    now() - CASE WHEN n % 20 = 0 THEN interval '2 hours' ELSE interval '1 day' END
FROM generate_series(1, {SESSIONS}) AS n;
INSERT INTO messages (session_id, number, request_id, part, role, content)
SELECT s, n, gen_random_uuid(), 1, 'user', repeat('word ', 40)
FROM generate_series(1, {SESSIONS}) AS s, generate_series(1, {MESSAGES // SESSIONS}) AS n;
INSERT INTO workers (id, name, pid, heartbeat_at, lease_until, claimed_through)
VALUES ('00000000-0000-0000-0000-000000000001', 'alive', 1, now(), now() + interval '1 hour', '{{}}'),
    ('00000000-0000-0000-0000-000000000002', 'stopped', 2, now() - interval '61 s', now() - interval '60 s', '{{}}'),
    ('00000000-0000-0000-0000-000000000003', 'dead', 3, now() - interval '72 s', now() - interval '60 s', '{{}}');
INSERT INTO requests (id, session_id, user_id, position, agent, priority, rank, text, metadata, origin, stream_key,
    status, head, max_attempts, timeout, worker_id, accepted_at, deadline, due_at, queue, finished_at)
SELECT gen_random_uuid(), 1 + n % {SESSIONS}, 'user ' || (1 + n % {SESSIONS}) % 1000, n / {SESSIONS} + 1, 'chat', 1, 1,
    repeat('word ', 40), '{{}}', 'here', 'k', s.status, s.head, 3, 300,
    CASE WHEN s.status = 'running' THEN format('00000000-0000-0000-0000-00000000000%s', 1 + 2 * (n % 2))::uuid END,
    now() - s.age, now() + interval '1 hour', now() - s.age, n % 3,
    CASE WHEN s.status IN ('succeeded', 'failed', 'cancelled', 'expired') THEN now() END
FROM generate_series(0, {REQUESTS - 1}) AS n, LATERAL (SELECT
    CASE WHEN n < {REQUESTS - 1000} THEN (ARRAY['succeeded', 'succeeded', 'succeeded', 'succeeded', 'succeeded',
            'succeeded', 'succeeded', 'failed', 'cancelled', 'expired'])[1 + n % 10]
        ELSE (ARRAY['queued', 'queued', 'retrying', 'running'])[1 + n % 4] END,
    n >= {REQUESTS - 1000},
    CASE WHEN n % 4 = 2 THEN interval '-1 minute' ELSE interval '1 minute' END) AS s(status, head, age);
"""


@pytest.fixture
def full(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL)
        connection.execute("ANALYZE")
    return database


def test_the_whole_is_counted_exactly_and_quickly_from_indexes_alone(full: str, broker: Broker) -> None:
    store = Database(full, size=2)
    found = whole.look(store, lease=12, patience=9)
    assert found.by_status == {
        Status.succeeded: 69_300,
        Status.failed: 9_900,
        Status.cancelled: 9_900,
        Status.expired: 9_900,
        Status.queued: 500,
        Status.retrying: 250,
        Status.running: 250,
    }
    assert [found.count(state) for state in ("waiting", "delayed", "running", "stuck")] == [500, 250, 0, 250]
    assert 60 <= found.oldest_waiting < 120
    assert (found.workers_alive, found.workers_lost) == (1, 1)
    assert found.hot == MESSAGES
    assert found.hot_of_labelled == {f"user {n}": MESSAGES // 1000 for n in range(100)}
    store.close()

    assert_planned_by_indexes(full)

    families = refreshed(full, broker)
    served = {sample.labels["status"]: sample.value for sample in families["cite_agent_ledger_requests"].samples}
    assert served["succeeded"] == 69_300
    assert families["cite_agent_queue_depth"].samples[0].value == 750
    assert len(families["cite_agent_conversation_history_size"].samples) == 101
    assert families["cite_agent_sessions_due"].samples[0].value == SESSIONS / 20
    assert 3600 <= families["cite_agent_archive_lag_seconds"].samples[0].value < 3700


def test_where_each_session_has_just_grown_no_table_is_scanned_either(full: str, broker: Broker) -> None:
    with psycopg.connect(full, autocommit=True) as connection:
        connection.execute("UPDATE sessions SET grown_at = now()")
        connection.execute("ANALYZE sessions")
    families = refreshed(full, broker)
    assert families["cite_agent_sessions_due"].samples[0].value == SESSIONS


def refreshed(database: str, broker: Broker) -> dict[str, Metric]:
    """What a new exporter sees, which is quick about it and reads no table from end to end."""
    before = rows_read_in_sequence(database)
    exporter = Exporter(Settings(database_url=database, broker_url=broker.url))
    times = [0.0] * 3
    for look in range(len(times)):
        began = time.perf_counter()
        families = {family.name: family for family in exporter.refresh()}
        times[look] = time.perf_counter() - began
    took = min(times)  # the others tell how busy the machine is
    exporter.close()
    assert rows_read_in_sequence(database) == before
    assert took < REFRESH_MAX
    assert FRESH + took < AGE_MAX
    return families


def assert_planned_by_indexes(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(THROUGH_INDEXES)
        for statement in (whole.ENDED, whole.UNFINISHED, whole.HOT, whole.HOT_OF_LABELLED):
            rows = connection.execute(f"EXPLAIN {statement}", {"patience": 9}).fetchall()
            plan = "\n".join(row[0] for row in rows)
            assert not re.search("(Seq|Heap) Scan on (requests|messages|sessions)", plan), plan


def rows_read_in_sequence(database: str) -> list[tuple[str, int]]:
    """By scans of the whole of each table that grows, as told by connections that have ended."""
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        eventually(lambda: connection.execute(others).fetchone() == (0,), what="all others are gone")
        return connection.execute(
            "SELECT relname, seq_tup_read FROM pg_stat_user_tables"
            " WHERE relname IN ('requests', 'messages', 'sessions', 'archives') ORDER BY relname"
        ).fetchall()


def test_what_is_served_is_soon_what_there_is(database: str, broker: Broker) -> None:
    settings = Settings(database_url=database, broker_url=broker.url)
    with closing(Exporter(settings)) as exporter, closing(Client(settings)) as client:

        def depth() -> float:
            (family,) = (one for one in exporter.look(seen=False) if one.name == "cite_agent_queue_depth")
            return float(family.samples[0].value)

        assert depth() == 0
        client.submit("Hello.", user_id="ada", conversation_id="only")
        eventually(lambda: depth() == 1, AGE_MAX, what="the request is served")


def test_a_source_that_is_away_is_told_and_the_others_are_served(database: str, broker: Broker) -> None:
    exporter = Exporter(Settings(database_url=database, broker_url=broker.url, broker_timeout=5))
    broker.kill()
    served = {family.name: family for family in exporter.look(seen=False)}
    up = {sample.labels["source"]: sample.value for sample in served["cite_agent_exporter_up"].samples}
    assert up == {"counts": 1, "ledger": 1, "broker": 0, "breakers": 1, "archive": 1}
    assert "cite_agent_queue_depth" in served
    assert "cite_agent_broker_queue_messages" not in served
    exporter.close()


def test_a_source_that_answers_wrongly_is_told_and_the_others_are_served(database: str, broker: Broker) -> None:
    settings = Settings(database_url=database, broker_url=broker.url, broker_timeout=0.5)
    exporter = Exporter(settings)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE archives CASCADE")
        connection.execute("DROP TABLE metric_estates CASCADE")
    with closing(connect(broker.url, 1.0)) as client:
        client.set("urgent", "no list")
        served = {family.name: family for family in exporter.look(seen=False)}
        up = {sample.labels["source"]: sample.value for sample in served["cite_agent_exporter_up"].samples}
        assert up == {"counts": 0, "ledger": 1, "broker": 0, "breakers": 1, "archive": 0}
        assert "cite_agent_queue_depth" in served
    left = LEDGER_FAULTS.labels("leave_counts")
    before = left._value.get()
    exporter.close()  # its counts can be left with nobody, which keeps it from nothing else
    assert left._value.get() == before + 1
    assert exporter._database._pool.closed


def test_a_beats_trace_that_is_no_time_is_as_old_as_can_be_and_goes(broker: Broker) -> None:
    counted = BROKER_FAULTS.labels("beat")
    before = counted._value.get()
    with closing(connect(broker.url, 1.0)) as client:
        client.hset(beat.KEY, mapping={"broken": "yesterday"})
        assert beat.last_seen(client) == {"broken": 0.0}
        assert counted._value.get() == before + 1
        beat.note(client, "here")
        assert set(beat.last_seen(client)) == {"here"}


def test_a_scraper_to_whom_nothing_can_be_told_is_told_so_and_that_is_counted() -> None:
    counted = EXPORTER_FAULTS.labels("scrape")
    before = counted._value.get()

    def look(seen: bool) -> list[Metric]:  # noqa: FBT001 - the server's signature
        raise KeyError(seen)

    server = Server(look, host="127.0.0.1", port=0)
    server.start()
    try:
        with capture_logs() as said, pytest.raises(HTTPError) as refused:
            urlopen(server.url, timeout=10)
        assert refused.value.code == 500
        refused.value.close()
    finally:
        server.stop()
    assert [(line["event"], line["log_level"]) for line in said] == [("scrape_failed", "error")]
    assert counted._value.get() == before + 1


def test_a_scraper_whose_wishes_cannot_be_read_is_told_so_and_that_is_counted() -> None:
    counted = EXPORTER_FAULTS.labels("scrape")
    before = counted._value.get()
    server = Server(lambda _: [], host="127.0.0.1", port=0)
    server.start()
    try:
        wish = Request(server.url, headers={"Accept": "application/openmetrics-text;version=new"})
        with capture_logs() as said, pytest.raises(HTTPError) as refused:
            urlopen(wish, timeout=10)
        assert refused.value.code == 500
        refused.value.close()
    finally:
        server.stop()
    assert [line["event"] for line in said] == ["scrape_failed"]
    assert counted._value.get() == before + 1


def test_a_scraper_that_is_gone_before_it_is_told_is_counted() -> None:
    counted = EXPORTER_FAULTS.labels("scrape")
    before = counted._value.get()
    asked, gone = threading.Event(), threading.Event()

    def look(seen: bool) -> list[Metric]:  # noqa: FBT001 - the server's signature
        asked.set()
        gone.wait(10)
        return []

    server = Server(look, host="127.0.0.1", port=0)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), 10) as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert asked.wait(10)
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it hangs up on closing
        gone.set()
        eventually(lambda: counted._value.get() == before + 1, 10, what="it is counted")
    finally:
        server.stop()
