"""`pipeline status`: all of it on one screen, at a cost that does not grow with the history."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from pipeline import beat
from pipeline.broker import connect
from pipeline.schemas import Call, Status, Usage
from pipeline.store import overview
from pipeline.store.database import Database
from pipeline.store.ledger import workers
from tests.cli.conftest import Cli
from tests.cli.terminal import PIPELINE, environment
from tests.servers import Broker, eventually
from tests.store.desk import Desk, Sql, answered, ending, new


@pytest.fixture
def with_broker(cli: Cli, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("CITE_AGENT_BROKER_URL", broker.url)
    monkeypatch.setenv("CITE_AGENT_BROKER_TIMEOUT", "5")
    return cli


def call(provider: str, seconds: float, reason: str | None = None) -> Call:
    now = datetime.now(UTC)
    return Call(
        provider, "large", now - timedelta(seconds=seconds), None, now, 503 if reason else 200, reason, Usage(7, 9)
    )


def fill(desk: Desk) -> None:
    """Requests in each state that the overview tells apart."""
    first, second, third = (replace(new(f"user {n}"), conversation_id=str(n), priority=n) for n in range(3))
    desk.accept(first, second, third, replace(first, id=uuid4()))
    desk.claim_one(second.id)
    tried = desk.claim_one(third.id)
    desk.end(ending(tried, Status.retrying, reason="http_503", delay=60.0, calls=(call("mistral", 2.0, "http_503"),)))
    ended = new("bob")
    desk.accept(ended)
    desk.end(replace(answered(desk.claim_one(ended.id)), calls=(call("mistral", 4.0), call("other", 1.0))))


def test_it_counts_what_runs_waits_is_delayed_and_stands_behind(with_broker: Cli, desk: Desk, broker: Broker) -> None:
    fill(desk)
    client = connect(broker.url, 10)
    beat.note(client, "host:1")
    client.rpush("urgent", "one", "two")
    client.close()
    result = with_broker("status", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    queues = {one["queue"]: one for one in told["ledger"]["queues"]}
    states = ("running", "waiting", "delayed", "behind")
    assert {name: [one[state] for state in states] for name, one in queues.items()} == {
        "urgent": [0, 1, 0, 1],
        "normal": [1, 0, 0, 0],
        "batch": [0, 0, 1, 0],
    }
    providers = {one["provider"]: one for one in told["ledger"]["providers"]}
    assert (providers["mistral"]["calls"], providers["mistral"]["failed"]) == (2, 1)
    assert providers["mistral"]["last_reason"] == "http_503"
    assert providers["mistral"]["median"] == pytest.approx(3.0)
    assert providers["other"]["tokens"] == 16
    assert told["ledger"]["outcomes"] == {"queued": 2, "running": 1, "retrying": 1, "succeeded": 1}
    assert [one["status"] for one in told["ledger"]["slowest"]] == ["running"]
    assert [one["user_id"] for one in told["ledger"]["oldest"]] == ["user 0", "user 2", "user 0"]
    assert told["broker"]["queues"]["urgent"] == 2
    assert told["broker"]["beats"] == ["host:1"]


def test_it_fits_a_screen_of_80_by_24_however_much_there_is(with_broker: Cli, desk: Desk, store: Database) -> None:
    fill(desk)
    for number in range(9):
        workers.register(store, uuid4(), name=f"worker{number}@{'host' * 9}", pid=4_000_000 + number, lease=60)
    one = new("bob", "many calls")
    desk.accept(one)
    calls = tuple(call(f"a provider {number} of a long name", 100.0) for number in range(5))
    desk.end(replace(answered(desk.claim_one(one.id)), calls=calls))
    desk.accept(*(replace(new("u" * 200), conversation_id=str(number)) for number in range(9)))
    lines = with_broker("status").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24, "\n".join(lines)
    assert any("and 7 more" in line for line in lines)


def test_a_broker_that_is_away_and_a_fleet_that_is_dead_are_said(
    with_broker: Cli, broker: Broker, store: Database, sql: Sql
) -> None:
    workers.register(store, uuid4(), name="late@host", pid=1, lease=60)
    sql.execute("UPDATE workers SET lease_until = now() - interval '1 second'")
    broker.kill()
    shown = with_broker("status").stdout
    assert "The broker does not answer" in shown
    assert "DEAD" in shown


def test_no_look_reads_a_whole_table(database: str, store: Database) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO users SELECT 'u' || n FROM generate_series(1, 2000) AS n")
        connection.execute("INSERT INTO sessions (user_id, conversation_id) SELECT user_id, 'c' FROM users")
        connection.execute(
            "INSERT INTO requests (id, session_id, user_id, position, agent, priority, rank, metadata, origin,"
            " stream_key, head, max_attempts, timeout, accepted_at, deadline, due_at, status, finished_at, queue)"
            " SELECT gen_random_uuid(), s.id, s.user_id, n, 'chat', 1, 1, '{}', 'o', '', n = 20, 3, 1, now(),"
            " now() + interval '1 hour', now(), CASE WHEN n = 20 AND s.id % 20 = 0 THEN 'queued' ELSE 'failed' END,"
            " CASE WHEN n = 20 AND s.id % 20 = 0 THEN NULL ELSE now() END, 1"
            " FROM sessions AS s, generate_series(1, 20) AS n WHERE n < 20 OR s.id % 20 = 0"
        )
        connection.execute(
            "INSERT INTO calls (request_id, attempt, fence, provider, model, started_at, finished_at, input_tokens,"
            " output_tokens, choice) SELECT id, 1, 1, 'p', 'm', now(), now(), 1, 1, 'c' FROM requests"
        )
        connection.execute("VACUUM ANALYZE")
    given = {"newest": 1000, "within": 300, "most": 3}
    with store.connection() as connection:
        for name in ("QUEUES", "WORKERS", "PROVIDERS", "OUTCOMES", "OLDEST", "SLOWEST"):
            plan = connection.execute(f"EXPLAIN {getattr(overview, name)}", given).fetchall()
            whole = [line for (line,) in plan if "Seq Scan on requests" in line or "Seq Scan on calls" in line]
            assert not whole, (name, plan)


def test_a_watch_looks_again_until_it_is_interrupted(database: str, broker: Broker, desk: Desk) -> None:
    ours, theirs = pty.openpty()
    given = environment(CITE_AGENT_DATABASE_URL=database, CITE_AGENT_BROKER_URL=broker.url, TERM="xterm")
    command = [*PIPELINE, "status", "--watch", "--every", "0.2"]
    written = b""
    with subprocess.Popen(command, env=given, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)

        def shows(words: bytes) -> bool:
            nonlocal written
            written += os.read(ours, 65536)
            return words in written

        try:
            eventually(lambda: shows(b"no requests"), what="the first look")
            desk.accept(new())
            eventually(lambda: shows(b"1 queued"), what="a later look")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    os.close(ours)
