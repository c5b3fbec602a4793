"""What a worker runs, and orders that come a moment too early."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from pipeline.worker import held
from pipeline.worker.held import Control, Held


def control() -> Control:
    return Control(time.monotonic() + 60)


def test_an_order_that_comes_between_a_claims_commit_and_its_attempt_stops_the_attempt() -> None:
    running, id_, reins = Held(), uuid4(), control()
    running.interrupt(id_, "cancelled")
    with running.hold(id_, 1, reins):
        assert reins.interrupted == "cancelled"
    again = control()
    with running.hold(id_, 2, again):
        assert again.interrupted is None, "an order is for one attempt"


def test_an_order_of_long_ago_and_one_for_another_claim_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    running, id_, reins = Held(), uuid4(), control()
    running.interrupt(id_, "claim lost", fence=1)
    monkeypatch.setattr(held, "EARLY", 0.0)
    running.interrupt(id_, "cancelled")
    with running.hold(id_, 2, reins):
        assert reins.interrupted is None


def test_of_orders_that_nobody_waits_for_none_is_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Held()
    monkeypatch.setattr(held, "EARLY", 0.0)
    for _ in range(100):
        running.interrupt(uuid4(), "cancelled")
    assert len(running._early) == 1


def test_whoever_holds_a_request_ends_an_older_attempt_at_it_in_the_same_process() -> None:
    running, id_, older, newer = Held(), uuid4(), control(), control()
    with running.hold(id_, 1, older):
        with running.hold(id_, 2, newer):
            assert older.interrupted == "claim lost"
            assert newer.interrupted is None
        assert running.fences() == {}


def test_of_two_attempts_at_a_request_the_later_claim_goes_on_whichever_is_held_first() -> None:
    running, id_, late, rightful = Held(), uuid4(), control(), control()
    with running.hold(id_, 2, rightful):
        with running.hold(id_, 1, late):
            assert (late.interrupted, rightful.interrupted) == ("claim lost", None)
            assert running.fences() == {id_: 2}
        assert running.fences() == {id_: 2}, "who was not held lets go of nothing"
