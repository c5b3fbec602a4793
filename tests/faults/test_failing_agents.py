"""Agents raise, hang, and return nonsense; deadlines pass. Each request ends, with its reason on record."""

from __future__ import annotations

import time

import pytest

from pipeline import RequestExpired, RequestFailed
from pipeline.errors import AttemptInterrupted
from pipeline.worker.held import Control
from tests.faults.conftest import MakeFleet
from tests.faults.wiretap import Wiretap
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

MISTAKE = "the agent's own mistake"


def test_an_agents_error_is_in_its_attempt_and_nowhere_else(fleet: Fleet, wiretap: Wiretap) -> None:
    [worker] = fleet.start(1)
    handle = fleet.ask("a secret", agent="raises")
    with pytest.raises(RequestFailed) as failed:
        handle.result(PATIENCE)
    assert (failed.value.reason, failed.value.attempts) == ("agent_error", 1)
    error = fleet.scalar("SELECT error FROM attempts WHERE request_id = %s", handle.id)
    assert "Traceback" in error
    assert f"ValueError: {MISTAKE} with a secret" in error
    eventually(lambda: wiretap.events(handle.id, "task-failed"), PATIENCE, what="its failure is shown")
    shown = wiretap.event(handle.id, "task-failed")
    assert handle.id in shown["exception"]
    assert "agent_error" in shown["exception"]
    for hidden in (MISTAKE, "a secret"):
        assert hidden not in str(shown)
        assert hidden not in fleet.log(worker)


def test_whatever_an_agent_returns_or_raises_its_request_ends(fleet: Fleet) -> None:
    [worker] = fleet.start(1)
    for agent in ("mute", "exits", "cancels_itself", "is_interrupted", "raises_several"):
        with pytest.raises(RequestFailed, match="agent_error"):
            fleet.ask(agent=agent).result(PATIENCE)
    errors = fleet.rows("SELECT error FROM attempts WHERE error ~ 'Traceback' ORDER BY finished_at")
    for (error,), raised in zip(errors, ("SystemExit", "CancelledError", "KeyboardInterrupt", "Group"), strict=True):
        assert raised in error
    assert fleet.ask(agent="nul").result(PATIENCE).text == "a\N{REPLACEMENT CHARACTER}b"
    assert fleet.scalar("SELECT metadata->>'cleaned' FROM messages WHERE role = 'assistant'") == "true"
    assert worker.poll() is None


def test_an_agent_that_ignores_its_run_limit_is_fenced_off_and_its_request_tried_again(fleet: Fleet) -> None:
    fleet.start(1)
    handle = fleet.ask(agent="stubborn", timeout=1)
    assert handle.result(PATIENCE).text == "attempt 2"
    assert fleet.attempts(handle) == [("retried", "timeout"), ("succeeded", None)]
    hopeless = fleet.ask(agent="stubborn", timeout=1, max_attempts=1)
    with pytest.raises(RequestFailed, match="timeout"):
        hopeless.result(PATIENCE)
    fleet.open_gate()  # both answer now, too late
    assert fleet.ask().result(PATIENCE).attempts == 1
    assert fleet.scalar("SELECT count(*) FROM messages") == 4


def test_an_agent_that_waits_past_its_run_limit_is_interrupted(fleet: Fleet) -> None:
    fleet.start(1)
    handle = fleet.ask(agent="wait", seconds=60, timeout=1, max_attempts=2)
    with pytest.raises(RequestFailed, match="timeout"):
        handle.result(PATIENCE)
    assert fleet.attempts(handle) == [("retried", "timeout"), ("failed", "timeout")]


def test_a_wait_that_reaches_the_limit_does_not_return_as_if_it_were_over() -> None:
    with pytest.raises(AttemptInterrupted):
        Control(time.monotonic() + 0.05).wait(60)


def test_a_deadline_ends_what_waits_and_what_runs(fleet: Fleet) -> None:
    fleet.start(1)
    running = fleet.ask(agent="stubborn", deadline=2)
    waiting = fleet.ask(agent="gate", deadline=1)
    next_one = fleet.ask("next")
    for handle in (waiting, running):
        with pytest.raises(RequestExpired):
            handle.result(PATIENCE)
    assert fleet.attempts(waiting) == []
    assert [outcome for outcome, _ in fleet.attempts(running)] == ["expired"]
    fleet.assert_answered([next_one], attempts=1)
    fleet.open_gate()


def test_a_deadline_that_passes_while_nobody_works_is_kept_by_whoever_comes(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url)
    handle = fleet.ask(deadline=0.5)
    eventually(lambda: fleet.scalar("SELECT bool_and(deadline < now()) FROM requests"))
    fleet.start(1)
    with pytest.raises(RequestExpired):
        handle.result(PATIENCE)
    assert fleet.attempts(handle) == []
