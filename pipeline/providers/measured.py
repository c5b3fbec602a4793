"""What a process has seen of its providers: moving averages, by which calls are routed and estimated."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from pipeline.providers.contract import CallRequest
from pipeline.schemas import Call

#: Weight of the newest call in an average.
NEWEST = 0.2

#: Output tokens of a call before one is known.
OUTPUT = 256

#: Seconds after its last failure in which a provider counts as one that fails; then it may be tried again. And those
#: for which one goes last that said that its customer's quota is used up.
FAILING, EXHAUSTED = 30.0, 60.0

#: Bytes of text a token, and tokens of each message's frame.
TOKEN_BYTES, FRAME = 4, 4

#: Options that say how many tokens a reply may have.
MOST = ("max_completion_tokens", "max_tokens")


class Measured:
    """Of one provider. Safe to use from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latency: float | None = None
        self._output = float(OUTPUT)
        self._failing = 0.0
        self._failed_at = self._exhausted_at = float("-inf")

    @property
    def latency(self) -> float | None:
        """Seconds of a call that succeeds, on average; one that fails fast is not a fast one."""
        return self._latency

    @property
    def failing(self) -> float:
        """Share of the calls that failed lately by the provider's fault; 0 where none has for a while."""
        return self._failing if self._clock() < self._failed_at + FAILING else 0.0

    @property
    def exhausted(self) -> bool:
        """Whether it said a moment ago that its customer's quota is used up."""
        return self._clock() < self._exhausted_at + EXHAUSTED

    def fail(self, reason: str) -> None:
        """Take a call in that failed by the provider's fault, or for want of quota: `budget`."""
        with self._lock:
            self._failing = _moved(self.failing, 1.0)
            self._failed_at = self._clock()
            if reason == "budget":
                self._exhausted_at = self._failed_at

    def learn(self, call: Call) -> None:
        """Take a call in that succeeded."""
        seconds = (call.finished_at - call.started_at).total_seconds()
        with self._lock:
            self._latency = seconds if self._latency is None else _moved(self._latency, seconds)
            self._failing = _moved(self.failing, 0.0)
            self._exhausted_at = float("-inf")
            self._output = _moved(self._output, call.usage.output_tokens)

    def output(self, request: CallRequest) -> int:
        """Output tokens that a call may take: what its options allow, or the average."""
        allowed = [value for name in MOST if isinstance(value := request.options.get(name), int)]
        return max(1, min(allowed)) if allowed else max(1, round(self._output))


def input_tokens(request: CallRequest) -> int:
    """Tokens of what is sent, roughly: no tokenizer fits every model."""
    size = _size(request.tools) + sum(_bytes(one.content) for one in request.messages)
    size += sum(_size(one.tool_calls) for one in request.messages if one.tool_calls)
    return size // TOKEN_BYTES + FRAME * len(request.messages)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _size(value: object) -> int:
    return len(json.dumps(value, default=str)) if value else 0


def _moved(average: float, newest: float) -> float:
    return average + NEWEST * (newest - average)
