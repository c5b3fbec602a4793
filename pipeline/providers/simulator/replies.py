"""The bytes that the simulator answers with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from pipeline.providers.simulator.answers import MARK, answer, as_text, count_tokens, tokens, tool_call
from pipeline.providers.simulator.behaviour import Fault

DONE = b"data: [DONE]\n\n"

#: Pieces that an answer comes in when all of it comes at once: few, as each costs both sides some work.
PIECES = 3

#: Status code, error code and text of the refusals. `{text}` is the user's, as real providers like to quote it.
REFUSALS = {
    "400": (400, "invalid_value", "Invalid value: {text}"),
    "401": (401, "invalid_api_key", "Incorrect API key provided"),
    "context_too_long": (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens: {text}"),
    "rate_limit": (503, "rate_limit_exceeded", "Rate limit reached: {text}"),
    "budget": (429, "insufficient_quota", "You exceeded your current quota: {text}"),
    "429": (429, "rate_limit_exceeded", "Rate limit reached for requests: {text}"),
    "500": (500, "server_error", "The server had an error: {text}"),
    "502": (502, "bad_gateway", "Bad gateway: {text}"),
    "503": (503, "overloaded", "The engine is overloaded: {text}"),
    "504": (504, "gateway_timeout", "Gateway time-out: {text}"),
}

Headers = list[tuple[bytes, bytes]]


class Reply:
    """One answer in the making."""

    def __init__(self, fault: Fault, seed: int, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        self.fault = fault
        self.text = answer(seed, messages)
        if fault.kind == "nul":
            self.text += " \0"
        self.tool = tool_call(body.get("tools") or []) if fault.kind == "tool_calls" else None
        self._model = str(body.get("model", "simulated"))
        self._with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._input = sum(count_tokens(as_text(message.get("content"))) for message in messages)

    @property
    def pieces(self) -> list[str]:
        return [] if self.tool or self.fault.kind == "empty" else tokens(self.text)

    def few_pieces(self) -> list[str]:
        every = self.pieces
        step = -(-len(every) // PIECES) or 1
        return ["".join(every[at : at + step]) for at in range(0, len(every), step)]

    def opening(self) -> bytes:
        """The first event; a tool call as well, in two pieces like real ones."""
        event = self._event({"role": "assistant", "content": None if self.tool else ""})
        return event + b"".join(self._tool_events())

    def piece(self, text: str) -> bytes:
        return self._event({"content": text})

    def ending(self) -> bytes:
        """The last events."""
        kind = self.fault.kind
        if kind == "malformed":
            return b'data: {"choices": [{"index": 0, "delta": {"con\n\n' + DONE
        if kind == "error_event":
            return _event({"error": {"code": "server_error", "message": f"failed on {self.text}"}}) + DONE
        if kind == "unfinished":
            return DONE
        usage = _event({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()})
        return self._event({}, finish=self._finish) + (usage if self._with_usage else b"") + DONE

    def whole(self) -> bytes:
        """The answer as one JSON document."""
        calls = [{"id": "call_1", "type": "function", "function": self.tool}] if self.tool else None
        text = "".join(self.pieces)
        message = {"role": "assistant", "content": None if self.tool else text, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        head = self._head("chat.completion")
        document = json.dumps({**head, "choices": [choice], "usage": self._usage()}).encode()
        return document[: len(document) // 2] if self.fault.kind == "malformed" else document

    @property
    def _finish(self) -> str:
        return "tool_calls" if self.tool else "stop"

    def _usage(self) -> dict[str, int]:
        output = count_tokens(self.text)
        return {"prompt_tokens": self._input, "completion_tokens": output, "total_tokens": self._input + output}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-simulated", "object": kind, "created": int(time.time()), "model": self._model}

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _tool_events(self) -> Iterator[bytes]:
        if self.tool is None:
            return
        half = len(self.tool["arguments"]) // 2
        first = {"name": self.tool["name"], "arguments": self.tool["arguments"][:half]}
        yield self._event({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": first}]})
        rest = {"arguments": self.tool["arguments"][half:]}
        yield self._event({"tool_calls": [{"index": 0, "function": rest}]})


def refusal(fault: Fault, text: str) -> tuple[int, Headers, bytes]:
    """Status code, headers and body of an error response."""
    status, code, message = REFUSALS[fault.kind]
    body = {"error": {"message": f"{MARK} {message.format(text=text)}", "type": code, "param": None, "code": code}}
    return status, _retry_after(fault), json.dumps(body).encode()


def _retry_after(fault: Fault) -> Headers:
    seconds = fault.retry_after
    if seconds is None:
        return []
    if fault.form == "ms":
        return [(b"retry-after-ms", f"{seconds * 1000:.0f}".encode())]
    if fault.form == "date":
        now = datetime.now(UTC)
        until = format_datetime(now + timedelta(seconds=seconds), usegmt=True)
        return [(b"date", format_datetime(now, usegmt=True).encode()), (b"retry-after", until.encode())]
    return [(b"retry-after", f"{seconds:g}".encode())]


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
