"""What an agent may do with its turn."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from pipeline import Message, Turn
from pipeline.agents import Agent, AgentFunction
from pipeline.broker import connect
from pipeline.errors import AttemptInterrupted, ProviderError
from pipeline.providers.openai_compatible import OpenAICompatible
from pipeline.providers.simulator import Simulator
from pipeline.retry import RetryPolicy
from pipeline.schemas import Status
from pipeline.settings import ProviderSettings, Settings
from pipeline.store.ledger import Claim, Ending
from pipeline.stream import Feed, StreamWriter, new_key
from pipeline.turn import TURN_MAX
from pipeline.worker.attempt import TRACEBACK_MAX, Attempt
from pipeline.worker.held import INTERRUPTED, RUN_LIMIT, Control

CLAIM = Claim(
    id=uuid4(), fence=1, attempt=1, max_attempts=3, session_id=1, user_id="ada", conversation_id="thesis", position=1,
    agent="mine", text="What did I cite?", metadata={}, origin="o", stream_key=new_key(), queue=1,
    published_at=datetime.now(UTC), publications=1, run_left=60, deadline_left=60,
)  # fmt: skip


@pytest.fixture
def feed() -> Iterator[Feed]:
    client = connect("unix:///nowhere.sock", 0.1)
    with StreamWriter(client, keep=60).open(str(CLAIM.id), CLAIM.stream_key, 1) as feed:
        yield feed
    client.close()


def ending_of(answer: AgentFunction, feed: Feed) -> Ending:
    attempt = Attempt({"mine": Agent("mine", answer)}, None, RetryPolicy(), 60)
    ending = attempt.run(CLAIM, Control(time.monotonic() + 60), feed).ending
    assert ending is not None
    return ending


def test_what_postgres_cannot_keep_is_replaced_and_flagged_in_all_that_a_turn_leaves(feed: Feed) -> None:
    def tool_user(turn: Turn) -> str:
        turn.record(Message("assistant", "", tool_calls=({"id": "1", "function": {"arguments": "\0"}},)))
        turn.record(Message("tool", "found\0 \ud800", tool_call_id="1", metadata={"raw\0": ["\0"]}))
        return "Knuth."

    ending = ending_of(tool_user, feed)
    assert ending.status == Status.succeeded
    _, call, result, answer = ending.messages
    assert call.tool_calls == ({"id": "1", "function": {"arguments": "\ufffd"}},)
    assert result.content == "found\ufffd \ufffd"
    assert result.metadata == {"raw\ufffd": ["\ufffd"]}
    assert (answer.content, answer.metadata) == ("Knuth.", {"cleaned": True})


def test_nul_in_what_a_provider_says_is_flagged_in_the_answer(feed: Feed) -> None:
    with Simulator() as simulator:
        simulator.script("nul")
        provider = OpenAICompatible(ProviderSettings(name="p", base_url=simulator.url, model="m"), Settings())
        attempt = Attempt({"mine": Agent("mine", lambda turn: turn.call())}, provider, RetryPolicy(), 60)
        ending = attempt.run(CLAIM, Control(time.monotonic() + 60), feed).ending
        provider.close()
    assert ending is not None
    _, answer = ending.messages
    assert answer.content.endswith("\ufffd")
    assert answer.metadata == {"cleaned": True}


def test_what_an_agent_shows_is_what_its_answer_will_be_so_that_no_reader_must_begin_anew(feed: Feed) -> None:
    said: list[str] = []

    def talks(turn: Turn) -> str:
        turn.stream("Kn\0uth.")
        said.append(turn.said)
        return "Kn\0uth."

    assert [ending_of(talks, feed).messages[-1].content] == said == ["Kn\ufffduth."]


def test_the_end_of_a_traceback_is_kept_whatever_the_agents_error_says(feed: Feed) -> None:
    def fails(_: Turn) -> str:
        raise ValueError(f"{'x' * TRACEBACK_MAX} \0 \ud800 in the end")

    error = ending_of(fails, feed).error or ""
    assert error.rstrip().endswith("x \ufffd \ufffd in the end")
    assert len(error) <= TRACEBACK_MAX


DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"metadata": {"at": datetime(2026, 1, 1, tzinfo=UTC)}}, "metadata: holds a datetime, which JSON cannot say"),
        ({"metadata": {"score": math.nan}}, "metadata: holds the number nan, which JSON cannot say"),
        ({"tool_calls": ({"arguments": DEEP},)}, "tool_calls: is nested deeper than 100 levels"),
        ({"content": "x" * (TURN_MAX + 1)}, "content: with it, this turn's messages are"),
    ],
    ids=["no JSON", "no number", "too deep", "too long"],
)
def test_what_the_history_cannot_hold_is_refused_when_it_is_recorded(
    feed: Feed, given: dict[str, Any], why: str
) -> None:
    def tool_user(turn: Turn) -> str:
        turn.record(replace(Message("tool", "found"), **given))
        return "Knuth."

    ending = ending_of(tool_user, feed)
    assert (ending.status, ending.reason, ending.messages) == (Status.failed, "agent_error", ())
    assert f"ValueError: {why}" in str(ending.error)


def test_a_turn_that_says_more_than_postgres_takes_in_time_is_an_agent_error(feed: Feed) -> None:
    def endless(turn: Turn) -> str:
        turn.record(Message("tool", "x" * (TURN_MAX // 2)))
        return "x" * (TURN_MAX // 2 + 1)

    ending = ending_of(endless, feed)
    assert (ending.status, ending.reason, ending.messages) == (Status.failed, "agent_error", ())
    assert f"{TURN_MAX + 1} bytes long, more than {TURN_MAX}" in str(ending.error)


@pytest.mark.parametrize("role", ["user", "system"])
def test_a_turn_has_one_users_message_and_no_system_message(feed: Feed, role: str) -> None:
    def impostor(turn: Turn) -> str:
        turn.record(Message(role, "Me too."))  # type: ignore[arg-type]  # any role is tried
        return "Knuth."

    ending = ending_of(impostor, feed)
    assert (ending.status, ending.reason) == (Status.failed, "agent_error")
    assert f"role '{role}'" in (ending.error or "")


def test_an_answer_that_is_no_text_fails_as_the_agents_error(feed: Feed) -> None:
    ending = ending_of(lambda _: 5, feed)  # type: ignore[arg-type, return-value]  # a careless agent
    assert (ending.status, ending.reason) == (Status.failed, "agent_error")
    assert "returned a int" in (ending.error or "")


def test_past_its_limit_an_attempt_calls_no_model_even_if_nobody_has_told_it(feed: Feed) -> None:
    def late(turn: Turn) -> str:
        time.sleep(0.1)
        turn.stream("too late")
        return "Knuth."

    claim = replace(CLAIM, run_left=0.05, deadline_left=0.05)
    attempt = Attempt({"mine": Agent("mine", late)}, None, RetryPolicy(), 60)
    ending = attempt.run(claim, Control(time.monotonic() + claim.run_left), feed).ending
    assert ending is not None
    assert ending.status == Status.expired


@pytest.mark.parametrize(
    ("why", "status"),
    [("cancelled", None), ("claim lost", None), (INTERRUPTED, Status.cancelled), (RUN_LIMIT, Status.retrying)],
)
def test_what_an_agent_answers_that_did_not_listen_when_it_was_to_stop_is_no_answer(
    feed: Feed, why: str, status: Status | None
) -> None:
    control = Control(time.monotonic() + 60)

    def deaf(_: Turn) -> str:
        if why == RUN_LIMIT:
            control.limit = time.monotonic()
        else:
            control.interrupt(why)
        return "Knuth."

    ending = Attempt({"mine": Agent("mine", deaf)}, None, RetryPolicy(), 60).run(CLAIM, control, feed).ending
    assert (ending and ending.status) == status
    assert "Knuth." not in [message.content for message in (ending.messages if ending else ())]


@pytest.mark.parametrize(("deadline_left", "status"), [(60, Status.retrying), (0.05, Status.expired)])
def test_an_answer_that_comes_after_the_limit_is_none(feed: Feed, deadline_left: float, status: Status) -> None:
    def late(_: Turn) -> str:
        time.sleep(0.1)
        return "Knuth."

    claim = replace(CLAIM, run_left=0.05, deadline_left=deadline_left)
    attempt = Attempt({"mine": Agent("mine", late)}, None, RetryPolicy(), 60)
    ending = attempt.run(claim, Control(time.monotonic() + claim.run_left), feed).ending
    assert ending is not None
    assert (ending.status, ending.messages) == (status, ())


def test_a_call_that_the_deadline_cuts_off_leaves_the_request_expired(feed: Feed) -> None:
    def slow(turn: Turn) -> str:
        time.sleep(0.06)
        raise ProviderError("timeout", provider="p")

    attempt = Attempt({"mine": Agent("mine", slow)}, None, RetryPolicy(), 60)
    expired = attempt.run(replace(CLAIM, run_left=0.1, deadline_left=0.1), Control(time.monotonic() + 0.1), feed)
    retried = attempt.run(replace(CLAIM, run_left=0.1), Control(time.monotonic() + 0.1), feed)
    assert expired.ending is not None
    assert retried.ending is not None
    assert (expired.ending.status, retried.ending.status) == (Status.expired, Status.retrying)


@pytest.mark.parametrize(
    "raised",
    [
        AttemptInterrupted("I have had enough"),
        ProviderError("rate_limit", provider="p", retry_after="soon"),  # type: ignore[arg-type] # a header as it came
        ProviderError(503, provider="p"),  # type: ignore[arg-type] # a careless agent
    ],
    ids=["our interrupt", "no number", "no reason"],
)
def test_an_agent_that_raises_our_errors_with_facts_of_its_own_has_failed(feed: Feed, raised: Exception) -> None:
    def careless(_: Turn) -> str:
        raise raised

    ending = ending_of(careless, feed)
    assert (ending.status, ending.reason) == (Status.failed, "agent_error")
    assert type(raised).__name__ in (ending.error or "")


@pytest.mark.parametrize("asked", ["30", Decimal(30)], ids=repr)
def test_what_an_agent_says_that_its_provider_asked_for_is_a_number_by_the_time_it_is_stored(
    feed: Feed, asked: Any
) -> None:
    def limited(_: Turn) -> str:
        raise ProviderError("rate_limit", provider="p", retry_after=asked)

    ending = ending_of(limited, feed)
    assert (ending.status, ending.delay, type(ending.delay)) == (Status.retrying, 30.0, float)


def test_of_an_interrupted_turn_the_question_and_the_text_so_far_are_kept(feed: Feed) -> None:
    control = Control(time.monotonic() + 60)

    def talks(turn: Turn) -> str:
        turn.record(Message("assistant", "", tool_calls=({"id": "1"},)))
        turn.stream("Knu")
        control.interrupt(INTERRUPTED)
        turn.stream("th")
        return "Knuth."

    attempt = Attempt({"mine": Agent("mine", talks)}, None, RetryPolicy(), 60)
    ending = attempt.run(CLAIM, control, feed).ending
    assert ending is not None
    assert (ending.status, ending.reason, ending.fence) == (Status.cancelled, "interrupted", CLAIM.fence)
    assert [(one.role, one.content, one.metadata) for one in ending.messages] == [
        ("user", "What did I cite?", {"interrupted": True}),
        ("assistant", "Knu", {"interrupted": True}),
    ]


def test_without_any_provider_the_error_names_both_remedies(feed: Feed) -> None:
    ending = ending_of(lambda turn: turn.call(), feed)
    assert (ending.status, ending.reason) == (Status.failed, "agent_error")
    assert "CITE_AGENT_PROVIDERS" in (ending.error or "")
    assert "pipeline up" in (ending.error or "")
