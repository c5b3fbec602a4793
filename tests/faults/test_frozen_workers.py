"""A worker that stood still for longer than its lease: others have taken over, and it must not write."""

from __future__ import annotations

from tests.fleet import PATIENCE, Fleet
from tests.servers import eventually


def test_a_worker_that_wakes_after_its_lease_writes_nothing_and_serves_on(fleet: Fleet) -> None:
    [frozen] = fleet.start(1)
    handles = [fleet.ask(agent="stubborn", user_id=f"user {number}") for number in range(3)]
    eventually(lambda: fleet.running() == 3, PATIENCE, what="all run")
    fleet.freeze(frozen)
    [second] = fleet.start(1)
    assert [handle.result(PATIENCE).text for handle in handles] == ["attempt 2"] * 3
    fleet.open_gate()
    fleet.thaw(frozen)
    # it can answer by now, and is told by the ledger that it is too late
    eventually(lambda: fleet.log(frozen).count("Task pipeline.answer[") >= 6, PATIENCE, what="it ended all three")
    assert fleet.scalar("SELECT count(*) FROM messages") == 6
    assert [fleet.attempts(handle) for handle in handles] == [[("retried", "worker_lost"), ("succeeded", None)]] * 3
    fleet.kill(second)
    assert fleet.ask().result(PATIENCE).attempts == 1


def test_an_answer_that_comes_while_another_worker_answers_is_dropped(fleet: Fleet) -> None:
    [frozen] = fleet.start(1)
    handle = fleet.ask(agent="gate")
    fleet.worker_of(handle)
    fleet.freeze(frozen)
    [second] = fleet.start(1)
    eventually(lambda: fleet.attempts(handle), PATIENCE, what="it was taken over")
    assert fleet.worker_of(handle) is second
    fleet.freeze(second)
    fleet.open_gate()
    fleet.thaw(frozen)  # whose fence is void, while nobody else writes
    eventually(lambda: fleet.log(frozen).count(handle.id) >= 2, PATIENCE, what="it gave up")
    fleet.thaw(second)
    fleet.assert_answered([handle])
    assert fleet.scalar("SELECT count(*) FROM messages") == 2
