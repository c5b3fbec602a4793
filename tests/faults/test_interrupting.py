"""A message that interrupts: what runs stops, what it has said is kept, and the new one has its turn."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipeline import Handle, RequestCancelled, SessionBusy
from pipeline.providers.simulator import Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually


def shown(handle: Handle, least: int) -> str:
    """The text so far, as soon as it is that long."""
    text = ""
    for piece in handle.stream(PATIENCE):
        text += piece
        if len(text) >= least:
            break
    return text


def interrupt(fleet: Fleet, handle: Handle, **options: Any) -> Handle:
    """Submit the next message of the session, and wait until the one before has ended."""
    following = fleet.ask("wait, no", on_busy="interrupt", **options)
    with pytest.raises(RequestCancelled):
        handle.result(PATIENCE)
    return following


@pytest.mark.parametrize("options", [{}, {"idempotency_key": "once"}], ids=["plain", "under a key"])
def test_the_text_so_far_is_kept_marked_and_the_new_message_is_answered(fleet: Fleet, options: dict[str, str]) -> None:
    fleet.start(1)
    fleet.hears_orders()
    talking = fleet.ask("tell me all", agent="words", count=10_000, seconds=0.02)
    behind = fleet.ask("and then?")
    seen = shown(talking, 50)
    with pytest.raises(SessionBusy, match="on_busy='queue' or 'interrupt'"):
        fleet.ask("only if you have time", on_busy="reject")
    following = interrupt(fleet, talking, **options)
    fleet.assert_answered([behind, following], attempts=1)
    history = list(fleet.client.history("ada", "only"))
    assert [one.content for one in history if one.role == "user"] == ["tell me all", "and then?", "wait, no"]
    assert [one.number for one in history] == [1, 2, 3, 4, 5, 6]
    assert [one.metadata.get("interrupted", False) for one in history] == [True, True, False, False, False, False]
    assert history[1].content.startswith(seen)
    assert fleet.attempts(talking) == [("cancelled", "interrupted")]


def test_a_call_is_hung_up_and_what_the_model_has_said_is_kept(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url))
    fleet.start(1)
    fleet.hears_orders()
    simulator.script(tokens_per_second=5)
    talking = fleet.ask("a question", agent="chat")
    seen = shown(talking, 1)
    simulator.script()
    following = interrupt(fleet, talking, agent="chat")
    assert following.result(PATIENCE).text
    question, partial, *_ = fleet.client.history("ada", "only")
    assert partial.content.startswith(seen)
    assert (question.metadata, partial.metadata) == ({"interrupted": True}, {"interrupted": True})
    assert fleet.scalar("SELECT count(*) FROM calls WHERE request_id = %s", talking.id) == 1


def test_one_that_has_said_nothing_leaves_its_question(fleet: Fleet) -> None:
    fleet.start(1)
    fleet.hears_orders()
    silent = fleet.ask("a question", agent="gate")
    fleet.worker_of(silent)
    following = interrupt(fleet, silent)
    fleet.assert_answered([following])
    assert [(one.role, one.content) for one in fleet.client.history("ada", "only")] == [
        ("user", "a question"),
        ("user", "wait, no"),
        ("assistant", "answer to wait, no"),
    ]


@pytest.mark.parametrize("how", ["frozen", "stubborn", "without a broker"])
def test_a_worker_that_cannot_be_reached_costs_seconds_and_the_text(
    database: str, broker: Broker, make_fleet: MakeFleet, how: str
) -> None:
    # a lease that outlasts the test: it is the interruption that ends the request, not the worker's death
    fleet = make_fleet(database, broker.url, lease=60.0)
    fleet.start(2)
    handle = fleet.ask(agent="stubborn" if how == "stubborn" else "gate")
    worker = fleet.worker_of(handle)
    if how == "frozen":
        fleet.freeze(worker)
    elif how == "without a broker":
        broker.kill()
    began = time.monotonic()
    following = interrupt(fleet, handle)
    assert time.monotonic() - began < 45
    if how == "without a broker":
        broker.start()
    fleet.assert_answered([following], attempts=1)
    assert fleet.attempts(handle) == [("cancelled", "interrupted")]
    assert fleet.scalar("SELECT count(*) FROM messages WHERE request_id = %s", handle.id) == 0
    if how == "frozen":
        fleet.thaw(worker)
    fleet.open_gate()
    eventually(lambda: fleet.running() == 0, PATIENCE)


def test_a_race_between_answer_and_interruption_has_one_winner(fleet: Fleet) -> None:
    fleet.start(1)
    races = [fleet.ask(f"race {n}", conversation_id=f"c{n}", user_id=f"u{n}", seconds=0.02) for n in range(20)]
    options: list[dict[str, Any]] = [{"conversation_id": f"c{n}", "user_id": f"u{n}"} for n in range(20)]
    followings = [fleet.ask("next", on_busy="interrupt", **one) for one in options]
    fleet.assert_answered(followings)
    for handle in races:
        eventually(lambda handle=handle: handle.status().final, PATIENCE)  # type: ignore[misc]
    # that the ledger's rules hold, gap-free numbers among them, is checked when the test is over
