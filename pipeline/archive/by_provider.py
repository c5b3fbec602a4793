"""Summaries by a model. A provider that fails, or is too slow, costs a summary some words and archiving nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from pipeline import signals
from pipeline.archive.summary import LONGEST, Extractive, Summariser
from pipeline.errors import AttemptInterrupted, Deferred, ProviderError
from pipeline.providers.contract import CallRequest, Provider
from pipeline.schemas import Call, Message
from pipeline.text import clean

log = structlog.get_logger(__name__)

INSTRUCTIONS = (
    "You keep the summary of a conversation between a user and an assistant, for the assistant to go on from. "
    "Rewrite the summary so that it tells of the new messages too. Keep names, numbers, sources, decisions, what the "
    "user wants and what is open; leave out greetings. Answer with the summary alone, in at most 300 words."
)

#: Most characters of the new messages in one prompt, and of one message when there are many.
PROMPT, PASSAGE = 24_000, 2_000

#: Least characters that one message is cut to, however many there are.
LEAST = 100

#: Prompts for one summary; with more messages, each of them is cut shorter.
PROMPTS = 4

#: Most tokens of the answer.
ANSWER = 600


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The reins of a summary's calls: nobody pulls them but the clock."""

    until: float

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def check(self) -> None:
        if not self.seconds_left:
            raise AttemptInterrupted("summary timeout")


@dataclass(frozen=True)
class ByProvider:
    """Asks a provider, for `timeout` seconds at most; what it does not give, `otherwise` does.

    However a summary ends, `account` is given its calls, once: they were paid for.
    """

    provider: Provider
    timeout: float
    account: Callable[[Sequence[Call]], None]
    otherwise: Summariser = field(default_factory=Extractive)

    def sum_up(self, old: str | None, messages: Sequence[Message]) -> tuple[str, str]:
        calls: list[Call] = []
        try:
            text, fault = self._asked(old, messages, calls)
        finally:
            self.account(calls)
        signals.provider_paid(calls, used=text is not None)
        by = calls[-1].provider if calls else self.provider.name
        if text is not None:
            return text, by
        signals.summary_failed(by, fault)
        log.warning("summary_failed", provider=by, reason=fault)
        return self.otherwise.sum_up(old, messages)

    def _asked(self, old: str | None, messages: Sequence[Message], calls: list[Call]) -> tuple[str | None, str]:
        """The new summary, or None and why there is none. Its calls are added to `calls`."""
        limit = TimeLimit(time.monotonic() + self.timeout)
        try:
            text = old or ""
            for part in _parts(messages):
                limit.check()
                text = self._ask(text, part, limit, calls)
        except (Deferred, ProviderError) as fault:
            return None, fault.reason
        except AttemptInterrupted:
            return None, "timeout"
        return text, ""

    def _ask(self, old: str, part: str, limit: TimeLimit, calls: list[Call]) -> str:
        asked = f"Summary so far:\n{old or '(none)'}\n\nNew messages:\n{part}"
        request = CallRequest(
            messages=[Message("system", INSTRUCTIONS), Message("user", asked)],
            options={"max_tokens": ANSWER, "temperature": 0},
        )

        def called(call: Call) -> None:
            calls.append(call)
            signals.provider_called(call)

        said = self.provider.call(request, on_text=_unheard, on_call=called, control=limit).reply.text
        text = clean(said.strip())[0][:LONGEST]
        if not text:
            raise ProviderError("bad_response", provider=self.provider.name)
        return text


def _parts(messages: Sequence[Message]) -> Iterator[str]:
    """The messages as prompts of bounded length."""
    longest = min(PASSAGE, max(LEAST, PROMPTS * PROMPT // len(messages)))
    part = ""
    for message in messages:
        line = f"{message.role}: {message.content[:longest]}\n"
        if part and len(part) + len(line) > PROMPT:
            yield part
            part = ""
        part += line
    yield part


def _unheard(_: str) -> None:
    """Nobody follows a summary as it comes."""
