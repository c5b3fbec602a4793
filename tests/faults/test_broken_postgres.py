"""Postgres restarts, freezes, hangs up and takes no writes; nothing accepted is lost, nobody declared dead for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from pipeline import Handle
from pipeline.errors import LedgerUnavailable
from pipeline.local.postgres import Postgres
from tests.faults.conftest import MakeFleet
from tests.fleet import PATIENCE, Fleet, Worker
from tests.servers import Broker, eventually

#: Threads that submit, each one's next request when the last one is answered.
SUBMITTERS = 4

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Load:
    """A steady load of short requests, so that a fault strikes in the middle of commits."""

    def __init__(self, fleet: Fleet) -> None:
        self.handles: list[Handle] = []
        self._fleet = fleet
        self._numbers = count()
        self._ending = threading.Event()
        self._threads = ThreadPoolExecutor(SUBMITTERS)
        self._done = [self._threads.submit(self._submit, f"user {number}") for number in range(SUBMITTERS)]

    def goes_on(self, more: int = 40) -> None:
        """Wait until that many more were submitted."""
        target = len(self.handles) + more
        eventually(lambda: len(self.handles) >= target or self._failed(), PATIENCE, what="the load goes on")
        assert not self._failed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ending.set()
        self._threads.shutdown()
        for done in self._done:
            done.result()

    def _failed(self) -> bool:
        return any(done.done() for done in self._done)

    def _submit(self, user: str) -> None:
        while not self._ending.is_set():
            number = next(self._numbers)
            if (handle := self._insist(user, number)) is None:
                return
            self.handles.append(handle)
            if number % 2:
                handle.result(PATIENCE)

    def _insist(self, user: str, number: int) -> Handle | None:
        """As agent code does: what is not known to be stored is submitted again under the same key."""
        while not self._ending.is_set():
            try:
                return self._fleet.ask(
                    f"{user} {number}", user_id=user, conversation_id=str(number % 3), idempotency_key=str(number)
                )
            except LedgerUnavailable:
                continue
        return None


def under_load(fleet: Fleet, fault: Callable[[], None], times: int) -> None:
    fleet.start(2)
    with Load(fleet) as load:
        for _ in range(times):
            load.goes_on()
            fault()
        load.goes_on()
    handles = load.handles
    assert len({handle.id for handle in handles}) == len(handles)
    fleet.assert_answered(handles)
    assert fleet.scalar("SELECT count(*) FROM requests") == len(handles)
    assert fleet.scalar("SELECT count(*) FROM messages") == 2 * len(handles)
    assert all(worker.poll() is None for worker in fleet.workers)


def test_restarts_in_the_middle_of_commits_lose_and_double_nothing(
    own_postgres: Postgres, broker: Broker, make_fleet: MakeFleet
) -> None:
    def restart() -> None:
        own_postgres.stop(mode="immediate")
        own_postgres.start()

    under_load(make_fleet(own_postgres.url, broker.url), restart, times=3)


def test_cut_connections_lose_and_double_nothing(database: str, broker: Broker, make_fleet: MakeFleet) -> None:
    def cut() -> None:
        with psycopg.connect(database) as connection:
            connection.execute(CUT)

    under_load(make_fleet(database, broker.url), cut, times=5)


def test_nobody_is_declared_dead_when_postgres_was_frozen_for_longer_than_a_lease(
    own_postgres: Postgres, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(own_postgres.url, broker.url)
    fleet.start(2)
    handles = fleet.ask_many(8, agent="gate")
    eventually(lambda: fleet.running() == 8, PATIENCE, what="all run")
    waited = fleet.settings.lease  # for the workers to trust their own eyes
    eventually(lambda: fleet.scalar("SELECT min(now() - started_at) > %s * interval '1 second' FROM workers", waited))
    for _ in range(3):
        own_postgres.freeze()
        time.sleep(fleet.settings.lease * 1.5)  # that long, as the rule says
        own_postgres.thaw()
        beats = fleet.rows("SELECT id, heartbeat_at FROM workers ORDER BY id")
        eventually(partial(all_beat_since, fleet, beats), PATIENCE, what="both workers' hearts beat again")
    fleet.open_gate()
    fleet.assert_answered(handles, attempts=1)
    assert fleet.rows("SELECT DISTINCT reason FROM attempts") == [(None,)]


def all_beat_since(fleet: Fleet, beats: list[tuple[object, ...]]) -> bool:
    now = fleet.rows("SELECT id, heartbeat_at FROM workers ORDER BY id")
    return all(new != old for new, old in zip(now, beats, strict=True))


def set_read_only(database: str, value: str) -> None:
    """Whether connections made from now on can write; those that are there are cut."""
    with psycopg.connect(database, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        name = sql.Identifier(connection.info.dbname)
        mode = sql.SQL(value)
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(name, mode))
        connection.execute(CUT)


def test_the_fleet_survives_a_postgres_that_takes_no_writes_for_a_while(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url)
    fleet.start(2)
    running = fleet.ask(agent="gate")
    eventually(lambda: fleet.running() == 1, PATIENCE, what="it runs")
    set_read_only(database, "on")
    with ThreadPoolExecutor(1) as thread:
        meanwhile = thread.submit(fleet.ask, "meanwhile", user_id="bob")
        for worker in fleet.workers:
            eventually(partial(has_failed_to_write, fleet, worker), PATIENCE, what="it cannot write")
        fleet.open_gate()
        set_read_only(database, "off")  # the connections that were made meanwhile have been cut, or cannot write
        fleet.assert_answered([running, meanwhile.result(PATIENCE), fleet.ask("afterwards", user_id="eve")])
    assert all(worker.poll() is None for worker in fleet.workers)


def has_failed_to_write(fleet: Fleet, worker: Worker) -> bool:
    return "ReadOnlySqlTransaction" in fleet.log(worker)
