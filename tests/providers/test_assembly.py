from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from pipeline.providers.assembly import Assembly
from pipeline.providers.classify import BadReplyError
from pipeline.schemas import Usage


def chunk(delta: Any, finish: str | None = None, **more: Any) -> ChatCompletionChunk:
    """A chunk as the SDK makes it: without any check."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    made: ChatCompletionChunk = ChatCompletionChunk.construct(**{"model": "m", "choices": [choice], **more})
    return made


def test_a_character_cut_in_two_comes_whole() -> None:
    assembly = Assembly()
    texts = [assembly.add(chunk({"content": text}, "stop")) for text in ("a\ud83d", "\ude00b", "c\ud83d")]
    texts.append(assembly.rest())
    assert texts == ["a", "\N{GRINNING FACE}b", "c", "\ufffd"]
    assert assembly.reply("p", "m").text == "".join(texts)
    assert assembly.cleaned


def test_tool_calls_in_turns_are_kept_apart_and_cleaned() -> None:
    assembly = Assembly()
    for index, piece in [(1, "x"), (0, "a"), (1, "y\0"), (0, "b")]:
        call = {"index": index, "id": f"call_{index}", "function": {"name": f"f{index}", "arguments": piece}}
        assembly.add(chunk({"tool_calls": [call]}, "tool_calls"))
    calls = assembly.reply("p", "m").tool_calls
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("call_0", "ab"), ("call_1", "xy\ufffd")]
    assert assembly.cleaned


def test_what_a_provider_calls_its_model_can_be_kept_as_well() -> None:
    assembly = Assembly()
    assembly.add(chunk({"content": "x"}, "stop\0", model="m\0\ud800"))
    reply = assembly.reply("p", "another")
    assert (reply.model, reply.finish_reason) == ("m\ufffd\ufffd", "stop\ufffd")


def test_reasoning_counts_as_the_model_s_beginning_but_is_no_text() -> None:
    assembly = Assembly()
    assembly.add(chunk({"role": "assistant", "content": ""}))
    assert not assembly.begun
    assert assembly.add(chunk({"reasoning_content": "hm"})) == ""
    assert assembly.begun


def test_a_refusal_is_an_answer() -> None:
    assembly = Assembly()
    assembly.add(chunk({"refusal": "no"}, "stop"))
    assert assembly.reply("p", "m").text == "no"


@pytest.mark.parametrize(
    "strange",
    [
        5,
        "text",
        None,
        chunk(None),
        chunk({"content": 5}),
        chunk({"content": "x"}, choices=[7]),
        chunk({"content": "x"}, usage={"prompt_tokens": "many"}),
        chunk({"content": "x"}, usage={"completion_tokens": 2**31}),
        chunk({"content": "x"}, usage={"completion_tokens": float("inf")}),
        chunk({"tool_calls": [{"function": {"arguments": 5}}]}),
    ],
    ids=repr,
)
def test_a_chunk_of_a_strange_shape_is_a_bad_reply(strange: Any) -> None:
    assembly = Assembly()
    with pytest.raises(BadReplyError):
        assembly.add(strange)


def test_a_count_of_less_than_no_tokens_is_none_and_lowers_no_spending() -> None:
    assembly = Assembly()
    assembly.add(chunk({"content": "x"}, "stop", usage={"prompt_tokens": -1, "completion_tokens": 3}))
    assert assembly.reply("p", "m").usage == Usage(0, 3)


def test_an_empty_or_unfinished_reply_is_a_bad_one() -> None:
    empty, unfinished = Assembly(), Assembly()
    empty.add(chunk({"content": ""}, "stop"))
    unfinished.add(chunk({"content": "and then"}))
    for assembly in (empty, unfinished):
        with pytest.raises(BadReplyError):
            assembly.reply("p", "m")


@pytest.mark.parametrize(
    "call", [{"index": "x"}, {"index": 1, "id": 5}, {"index": 1, "function": {"name": 5}}], ids=repr
)
def test_a_tool_call_of_a_strange_shape_is_a_bad_reply(call: Any) -> None:
    assembly = Assembly()
    assembly.add(chunk({"tool_calls": [{"index": 0, "id": "call_0"}]}))

    def take() -> None:
        assembly.add(chunk({"tool_calls": [call]}, "tool_calls"))
        assembly.reply("p", "m")

    with pytest.raises(BadReplyError):
        take()
