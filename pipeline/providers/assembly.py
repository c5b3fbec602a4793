"""A streamed reply put together from its chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDeltaToolCall

from pipeline.providers.classify import BadReplyError
from pipeline.schemas import Reply, Usage
from pipeline.text import clean

#: Most tokens of a call: an answer with more, which nobody has read or written, would be refused by the ledger.
MOST_TOKENS = 2**31 - 1


@dataclass(slots=True)
class ToolCall:
    """A tool call whose arguments come in pieces."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def add(self, delta: ChoiceDeltaToolCall) -> None:
        self.id = self.id or delta.id or ""
        if delta.function is not None:
            self.name = self.name or delta.function.name or ""
            self.arguments += delta.function.arguments or ""


@dataclass(slots=True)
class Assembly:
    """What has come of a reply so far."""

    texts: list[str] = field(default_factory=list)
    tools: dict[int, ToolCall] = field(default_factory=dict)
    usage: Usage | None = None
    model: str | None = None
    finish_reason: str | None = None
    cleaned: bool = False
    #: Whether the model has begun: with text, a tool call, or its reasoning.
    begun: bool = False
    _half: str = ""

    def add(self, chunk: ChatCompletionChunk) -> str:
        """Take a chunk in. Returns the text that it adds, fit to be kept. Raises BadReplyError."""
        with _strange_is_bad():
            self.model = self.model or chunk.model
            if chunk.usage is not None:
                self.usage = Usage(_count(chunk.usage.prompt_tokens), _count(chunk.usage.completion_tokens))
            return self._add_choice(chunk.choices[0]) if chunk.choices else ""

    def rest(self) -> str:
        """The text that was held back. To be called once, after the last chunk."""
        return self._keep(self._half) if self._half else ""

    def reply(self, provider: str, model: str) -> Reply:
        """The whole reply. Raises BadReplyError when it is cut or empty."""
        text = "".join(self.texts)
        if self.finish_reason is None or not (text or self.tools):
            raise BadReplyError
        with _strange_is_bad():
            calls = tuple(self._kept(call) for _, call in sorted(self.tools.items()))
            used, finish = clean(self.model or model)[0], clean(self.finish_reason)[0]
            return Reply(text, provider, used, self.usage or Usage(), calls, finish)

    def _add_choice(self, choice: Choice) -> str:
        delta = choice.delta
        self.finish_reason = choice.finish_reason or self.finish_reason
        for call in delta.tool_calls or ():
            self.tools.setdefault(call.index, ToolCall()).add(call)
        text = delta.content or delta.refusal or ""
        # Reasoning comes in fields of various names that the SDK does not know.
        self.begun = self.begun or bool(text or self.tools or any((delta.model_extra or {}).values()))
        text, self._half = _whole(self._half + text)
        return self._keep(text) if text else ""

    def _keep(self, text: str) -> str:
        kept, changed = clean(text)
        self.cleaned = self.cleaned or changed
        self.texts.append(kept)
        return kept

    def _kept(self, call: ToolCall) -> dict[str, Any]:
        fields = [clean(value) for value in (call.id, call.name, call.arguments)]
        self.cleaned = self.cleaned or any(changed for _, changed in fields)
        (id_, _), (name, _), (arguments, _) = fields
        return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


@contextmanager
def _strange_is_bad() -> Iterator[None]:
    """The SDK does not check what it has read, so a strange shape shows only where it is used."""
    try:
        yield
    except (AttributeError, OverflowError, TypeError, ValueError):  # the second for 1e999 tokens
        raise BadReplyError from None


def _count(tokens: float | None) -> int:
    """Tokens, of as many as the ledger can keep; 0 for less, which some servers say where they do not know. Raises
    ValueError, or OverflowError, for what are none."""
    count = max(0, int(tokens or 0))
    if count > MOST_TOKENS:
        raise ValueError
    return count


def _whole(text: str) -> tuple[str, str]:
    """Hold back a character's first half, whose second may be in the next chunk."""
    return (text[:-1], text[-1]) if "\ud800" <= text[-1:] <= "\udbff" else (text, "")
