"""Postgres did what it was asked, but its answer never came; and it stands still between two questions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pipeline import Client, Handle, broker, metrics, notices, signals
from pipeline.consistency import LEAST_CONNECTIONS
from pipeline.courier import Courier
from pipeline.schemas import Call, Message, Status, Usage
from pipeline.store.database import Connection, Database
from pipeline.store.ledger import Claim, Ending, workers
from pipeline.worker.held import Control, Held
from pipeline.worker.ledger_desk import LedgerDesk
from pipeline.worker.recovery import Recovery
from pipeline.worker.runtime import Runtime
from tests.fleet import Fleet
from tests.servers import eventually
from tests.store.desk import Desk, ending

CALL = Call("first", "big", datetime.now(UTC), None, datetime.now(UTC), 200, None, Usage(10, 4), 0.25)

#: What Postgres takes in no text.
UNHEARD_OF = replace(CALL, model="\0")


def faults(operation: str) -> float:
    return float(metrics.LEDGER_FAULTS.labels(operation)._value.get())


def none() -> None:
    """All is well."""


def lost() -> None:
    raise psycopg.OperationalError("the connection is lost")


class LosingReplies(Database):
    """Before the answers of Postgres to the next questions come, and after their commits, `then` happens, in turn."""

    then: tuple[Callable[[], object], ...] = ()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with super().connection() as connection:
            yield connection
        if self.then:
            now, *later = self.then
            self.then = tuple(later)
            now()


class Bench:
    """A worker's desk and recovery on a ledger, without the worker's threads."""

    def __init__(self, fleet: Fleet) -> None:
        self.settings = fleet.settings
        self.clients: list[Client] = []
        self.database = LosingReplies(fleet.settings.database)
        self.redis = broker.connect(fleet.settings.broker, 1.0)
        self.courier = Courier(fleet.settings, self.redis)
        self.worker = uuid4()
        self.desk = LedgerDesk(self.database, self.worker, Held(), self.courier, fleet.settings)
        workers.register(self.database, self.worker, name="bench", pid=os.getpid(), lease=fleet.settings.lease)

    def claim(self, handle: Handle) -> Claim | None:
        return self.desk.claim(UUID(handle.id))

    def client(self) -> Client:
        """A client that has the bench's way to Postgres."""
        made = Client(self.settings)
        self.clients.append(made)
        made._database = self.database
        return made

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.database.close()
        self.redis.close()


def answer_to(claim: Claim, **changes: Any) -> Ending:
    usual = Ending(
        id=claim.id,
        status=Status.succeeded,
        fence=claim.fence,
        user_id=claim.user_id,
        session_id=claim.session_id,
        position=claim.position,
        messages=(Message("user", claim.text), Message("assistant", "said")),
    )
    return replace(usual, **changes)


@pytest.fixture
def bench(fleet: Fleet) -> Iterator[Bench]:
    made = Bench(fleet)
    fleet.may_leave_unfinished = True
    yield made
    made.close()


def test_a_claim_whose_reply_was_lost_is_still_this_workers(fleet: Fleet, bench: Bench) -> None:
    handle = fleet.ask()
    bench.database.then = (lost,)
    claimed = bench.claim(handle)
    assert claimed is not None, "its request would be running, and run by nobody, up to its run limit"
    assert claimed.fence == fleet.scalar("SELECT fence FROM requests")
    assert bench.claim(handle) is None, "a second delivery is not another claim"


def test_a_copy_whose_claims_reply_was_lost_takes_nothing_from_the_attempt_at_work(fleet: Fleet, bench: Bench) -> None:
    claim = bench.claim(handle := fleet.ask())
    assert claim is not None
    with bench.desk._held.hold(claim.id, claim.fence, Control(time.monotonic() + 60)):
        bench.database.then = (lost,)
        assert bench.claim(handle) is None
    assert fleet.scalar("SELECT fence FROM requests") == claim.fence


def test_an_ending_whose_reply_was_lost_took_effect_once(fleet: Fleet, bench: Bench) -> None:
    claim = bench.claim(fleet.ask())
    assert claim is not None
    bench.database.then = (lost,)
    signals.estate.settle()
    assert bench.desk.end(answer_to(claim))
    assert fleet.scalar("SELECT count(*) FROM messages") == 2
    counted = [value for (name, _), value in signals.estate.settle().items() if name == "cite_agent_requests_total"]
    assert counted == [1], "and is counted once"


def test_the_calls_of_an_attempt_that_lost_its_claim_are_booked_once_although_the_reply_was_lost(
    fleet: Fleet, bench: Bench
) -> None:
    claim = bench.claim(fleet.ask())
    assert claim is not None
    fleet.rows("UPDATE requests SET fence = fence + 1 RETURNING id")  # another has taken over
    bench.database.then = (lost,)
    assert not bench.desk.end(answer_to(claim, calls=(CALL,)))
    assert fleet.rows("SELECT fence, cost FROM calls") == [(claim.fence, 0.25)]
    assert fleet.scalar("SELECT sum(cost) FROM spending") == 0.25


def test_an_answer_that_is_refused_leaves_the_calls_that_were_paid_for(fleet: Fleet, bench: Bench) -> None:
    claim = bench.claim(handle := fleet.ask())
    assert claim is not None
    refused = faults("ending_refused")
    unheard_of = (Message("user", claim.text), Message("assistant", "said", metadata={"nul": "\0"}))
    took_effect = bench.desk.end(answer_to(claim, messages=unheard_of, calls=(CALL,)))
    assert took_effect is not None
    assert (took_effect.status, took_effect.reason) == (Status.failed, "agent_error"), "and is told to be a failure"
    assert fleet.attempts(handle) == [("failed", "agent_error")]
    assert fleet.rows("SELECT cost FROM calls") == [(0.25,)]
    assert faults("ending_refused") == refused + 1


def test_calls_that_are_refused_themselves_do_not_keep_a_request_from_its_end(fleet: Fleet, bench: Bench) -> None:
    claim = bench.claim(handle := fleet.ask())
    assert claim is not None
    refused = faults("calls_refused")
    assert bench.desk.end(answer_to(claim, calls=(UNHEARD_OF,)))
    assert fleet.attempts(handle) == [("failed", "agent_error")]
    assert fleet.scalar("SELECT count(*) FROM calls") == 0
    assert faults("calls_refused") == refused + 1


def test_calls_that_are_refused_after_a_claim_was_lost_are_counted_and_raise_nothing(
    fleet: Fleet, bench: Bench
) -> None:
    claim = bench.claim(fleet.ask())
    assert claim is not None
    refused = faults("account")
    runtime = Runtime(fleet.settings, "its worker")
    try:
        runtime._account(claim, (UNHEARD_OF,))
    finally:
        runtime.stop()
    assert faults("account") == refused + 1


def test_what_is_delivered_after_a_lease_ran_out_is_claimed_with_a_new_one_and_not_dropped(fleet: Fleet) -> None:
    fleet.may_leave_unfinished = True
    runtime = Runtime(fleet.settings, "its worker")
    try:
        runtime._register()
        eventually(lambda: fleet.scalar("SELECT lease_until < now() FROM workers WHERE name = 'its worker'"))
        began = time.monotonic()
        assert runtime._claim(UUID(fleet.ask(user_id="ada").id), began) is not None
        fleet.rows("UPDATE workers SET lease_until = now() RETURNING id")
        assert runtime._claim(UUID(fleet.ask(user_id="bob").id), began) is not None, "a late beat may come meanwhile"
    finally:
        runtime.stop()


def test_a_cancellation_whose_reply_was_lost_is_ones_own_success_and_counted_once(fleet: Fleet, bench: Bench) -> None:
    client, handle = bench.client(), fleet.ask()
    signals.estate.settle()
    bench.database.then = (none, lost)  # where the request stands is read before
    assert client.cancel(UUID(handle.id))
    assert handle.status() == Status.cancelled
    counted = [value for (name, _), value in signals.estate.settle().items() if name == "cite_agent_requests_total"]
    assert counted == [1]
    assert not client.cancel(UUID(handle.id))


def test_a_cancellation_tells_the_worker_that_has_claimed_the_request_meanwhile(fleet: Fleet, bench: Bench) -> None:
    client, handle = bench.client(), fleet.ask()
    heard: list[str] = []
    listener = notices.Listener(fleet.settings.broker, lambda _, ids: heard.extend(ids), timeout=1.0)
    listener.subscribe(notices.control_channel(str(bench.worker)), wait=10)
    bench.database.then = (lambda: bench.claim(handle),)
    assert client.cancel(UUID(handle.id))
    try:
        eventually(lambda: heard == [handle.id], 20, what="the worker is told")
    finally:
        listener.stop()


def test_what_recovery_ended_is_counted_once_although_the_reply_was_lost(fleet: Fleet, bench: Bench) -> None:
    handle = fleet.ask()
    fleet.rows("UPDATE requests SET deadline = now() RETURNING id")
    signals.estate.settle()
    bench.database.then = (none, lost)
    recovery = Recovery(bench.database, bench.courier, bench.settings, lambda: 0.0)
    assert recovery.run()["expired"] == 1
    assert handle.status() == Status.expired
    counted = [value for (name, _), value in signals.estate.settle().items() if name == "cite_agent_requests_total"]
    assert counted == [1]


def test_recovery_gets_along_with_the_fewest_connections_that_may_be_set(fleet: Fleet, bench: Bench) -> None:
    fleet.ask()
    fleet.rows("UPDATE requests SET deadline = now() RETURNING id")
    few = Database(fleet.settings.database, size=LEAST_CONNECTIONS, wait=5.0)
    assert Recovery(few, bench.courier, bench.settings, lambda: 0.0).run()["expired"] == 1
    few.close()


def test_nobody_is_declared_dead_when_postgres_froze_just_after_it_was_seen_to_be_steady(
    fleet: Fleet, bench: Bench
) -> None:
    handle = fleet.ask()
    assert bench.claim(handle) is not None

    def steady_so_far() -> float:
        # here Postgres stands still for longer than a lease, and no heart's beat gets through
        time.sleep(fleet.settings.lease + 0.2)
        return 2 * fleet.settings.lease

    recovery = Recovery(bench.database, bench.courier, bench.settings, steady_so_far)
    assert not recovery.run()
    assert fleet.attempts(handle) == []


def test_who_runs_a_request_by_the_time_that_its_worker_is_declared_dead_goes_on_with_it(
    fleet: Fleet, bench: Bench
) -> None:
    claim, another = bench.claim(handle := fleet.ask()), Desk(fleet.database)
    assert claim is not None
    fleet.rows("UPDATE workers SET lease_until = now() WHERE id = %s RETURNING id", bench.worker)

    def wakes_up_and_leaves_it_to_another() -> None:
        another.end(ending(claim, Status.retrying, reason="timeout", delay=0))
        another.claim_one(claim.id)

    bench.database.then = (wakes_up_and_leaves_it_to_another,)  # once recovery has seen who is dead
    assert not Recovery(bench.database, bench.courier, bench.settings, lambda: float("inf")).run()
    assert fleet.attempts(handle) == [("retried", "timeout")]
    assert fleet.rows("SELECT status, worker_id FROM requests") == [("running", another.worker_id)]
