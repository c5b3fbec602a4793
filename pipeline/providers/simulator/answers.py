"""What the simulator says: the same for the same seed and messages, and never to be taken for a model's answer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: Begins every answer.
MARK = "[simulated]"

#: The most characters of the user's text that an answer repeats.
QUOTED = 80

OPENINGS = (
    'You said: "{text}".',
    'I have read "{text}".',
    'Your message was "{text}".',
    'About "{text}": noted.',
)
CLOSINGS = (
    "A real model would say more.",
    "Nothing was looked up for this answer.",
    "What shall we look at next?",
)


def user_text(messages: list[dict[str, Any]]) -> str:
    """The newest user message, or an empty text."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return as_text(message.get("content"))
    return ""


def as_text(content: Any) -> str:
    """A message's content, which may come in parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def answer(seed: int, messages: list[dict[str, Any]]) -> str:
    """One to three sentences that acknowledge the user's text and how much was seen before it."""
    said = json.dumps([seed, [[m.get("role"), as_text(m.get("content"))] for m in messages]])
    chosen = int.from_bytes(hashlib.sha256(said.encode()).digest()[:4])
    opening = OPENINGS[chosen % len(OPENINGS)].format(text=_quoted(user_text(messages)))
    closing = CLOSINGS[chosen // len(OPENINGS) % len(CLOSINGS)]
    return f"{MARK} {opening} {_memory(messages)} {closing}"


def tool_call(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """A call of the first tool on offer."""
    function = (tools[0].get("function") or {}) if tools else {}
    return {"name": str(function.get("name", "simulated_tool")), "arguments": '{"simulated": true}'}


def tokens(text: str) -> list[str]:
    """The text in pieces of a word each; joined, they are the text."""
    return [f"{word} " for word in text.split(" ")[:-1]] + [text.rsplit(" ", 1)[-1]]


def count_tokens(text: str) -> int:
    """A plausible number of tokens."""
    return max(1, len(text) // 4)


def _quoted(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= QUOTED else plain[: QUOTED - 1] + "…"


def _memory(messages: list[dict[str, Any]]) -> str:
    roles = [message.get("role") for message in messages]
    turn = max(1, roles.count("user"))
    earlier = len([role for role in roles if role != "system"]) - 1
    if roles and roles[-1] == "tool":
        return f"This is turn {turn}, and a tool has just answered."
    if earlier <= 0:
        return "This is turn 1, and I have seen nothing before it."
    return f"This is turn {turn}, and I have seen {earlier} earlier message{'s' if earlier > 1 else ''}."
