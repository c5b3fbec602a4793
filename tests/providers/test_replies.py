from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.providers.simulator import Fixed, Simulator
from pipeline.schemas import Message
from tests.providers.conftest import SECRET, Caller, ConnectTo

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


def test_text_comes_in_pieces_that_make_up_the_answer(simulator: Simulator, caller: Caller) -> None:
    simulator.script(tokens_per_second=500)
    completion = caller.call()
    assert len(caller.texts) > 5
    assert "".join(caller.texts) == completion.reply.text
    assert completion.reply.text.startswith("[simulated]")
    assert SECRET in completion.reply.text
    assert (completion.reply.provider, completion.reply.model) == ("some", "a-model")
    assert completion.reply.finish_reason == "stop"
    assert not completion.cleaned


def test_usage_is_counted_and_priced(simulator: Simulator, connect_to: ConnectTo) -> None:
    caller = connect_to(simulator.url, prices=(2, 10))
    usage = caller.call().reply.usage
    (call,) = caller.calls
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    assert call.usage == usage
    assert call.cost == pytest.approx((usage.input_tokens * 2 + usage.output_tokens * 10) / 1_000_000)
    assert (call.reason, call.status_code) == (None, 200)
    assert call.first_token_at is not None
    assert call.started_at <= call.first_token_at <= call.finished_at
    assert call.started_at.tzinfo is not None


def test_a_call_whose_usage_is_unknown_has_no_cost(simulator: Simulator, connect_to: ConnectTo) -> None:
    caller = connect_to(simulator.url, prices=(2, 10))
    simulator.script("503")
    caller.failure()
    assert caller.calls[0].cost is None


def test_tool_calls_are_passed_through_whole(simulator: Simulator, caller: Caller) -> None:
    simulator.script("tool_calls")
    reply = caller.call(tools=[TOOL]).reply
    (call,) = reply.tool_calls
    assert call["type"] == "function"
    assert call["function"] == {"name": "look_up", "arguments": '{"simulated": true}'}
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")
    assert caller.calls[0].first_token_at is not None


def test_a_tool_s_result_is_told_to_the_model(caller: Caller) -> None:
    asked = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    history = [
        Message("user", "look it up"),
        Message("assistant", "", tool_calls=(asked,)),
        Message("tool", "found", tool_call_id="call_1"),
    ]
    assert "a tool has just answered" in caller.call(messages=history).reply.text


def test_nul_in_an_answer_is_replaced_and_flagged(simulator: Simulator, caller: Caller) -> None:
    simulator.script("nul")
    completion = caller.call()
    assert completion.cleaned
    assert completion.reply.text.endswith("\ufffd")
    assert "\0" not in "".join(caller.texts)


def test_options_and_the_request_s_id_reach_the_provider(simulator: Simulator, caller: Caller) -> None:
    caller.call(request_id="request-1", options={"temperature": 0.5, "unheard_of": 1})
    assert simulator.counts.requests == {"request-1": 1}


def test_fifty_calls_at_once_share_one_client(simulator: Simulator, connect_to: ConnectTo) -> None:
    simulator.script(latency=Fixed(seconds=0.3))
    caller = connect_to(simulator.url)
    with ThreadPoolExecutor(50) as threads:
        replies = list(threads.map(lambda n: caller.call(messages=[Message("user", f"call {n}")]).reply, range(50)))
    assert [f"call {n}" in reply.text for n, reply in enumerate(replies)] == [True] * 50
    assert simulator.counts.most_in_flight > 25
    assert simulator.counts.outcomes == {"ok": 50}


def test_calls_one_after_another_use_one_connection(connect_to: ConnectTo) -> None:
    with Simulator() as simulator:
        caller = connect_to(simulator.url)
        for _ in range(5):
            caller.call()
        simulator.script("503", tokens_per_second=500)
        caller.failure()
        caller.call()
        assert simulator.connections == 1
