"""The turn: all that an agent is given to answer one request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline import journal, signals
from pipeline.errors import ConfigurationError
from pipeline.providers.contract import NONE_CONFIGURED, Anew, CallRequest, Provider
from pipeline.schemas import Call, Message, Reply
from pipeline.text import clean, clean_json

if TYPE_CHECKING:
    from pipeline.store.ledger import Claim
    from pipeline.stream import Feed
    from pipeline.worker.held import Control


#: Bytes of text and JSON that one turn may leave in the history. More would be an answer that Postgres works on for
#: longer than a statement may take, and everybody's answers of this worker with it.
TURN_MAX = 16 * 1024 * 1024

#: Who may speak within a turn, between the user and the answer.
RECORDED_ROLES = ("assistant", "tool")


class Turn:
    """One attempt at a request, as its agent sees it.

    `text` is the user's message, `context` what the model is told before it: the agent's system prompt, then the
    newest messages of the conversation. `attempt` counts from 1.
    """

    def __init__(
        self,
        claim: Claim,
        control: Control,
        feed: Feed,
        provider: Provider | None,
        system: str | None = None,
    ) -> None:
        self.claim = claim
        self._control = control
        self._feed = feed
        self._provider = provider
        # reckoned from where the limit was: whichever of the two the attempt ends at, they agree which came first
        self._deadline = control.limit + claim.deadline_left - claim.run_left
        self.request_id = str(claim.id)
        self.user_id = claim.user_id
        self.conversation_id = claim.conversation_id
        self.text = claim.text
        self.metadata: dict[str, Any] = claim.metadata
        self.attempt = claim.attempt
        prompt = [Message("system", system)] if system else []
        self.context: tuple[Message, ...] = (*prompt, *claim.context)
        self.calls: list[Call] = []
        self.recorded: list[Message] = []
        #: Bytes.
        self.recorded_size = 0
        self._shown: list[str] = []
        #: Whether something a provider said held characters that cannot be kept, and were replaced.
        self.cleaned = False

    @property
    def cancelled(self) -> bool:
        """Whether the work is for nothing: cancelled, past its limit, or taken over. An agent that works long
        without calling a model looks here, and returns or raises what it likes."""
        return self._control.interrupted is not None

    @property
    def deadline_left(self) -> float:
        """Seconds until the request's deadline."""
        return self._deadline - time.monotonic()

    @property
    def seconds_left(self) -> float:
        """Seconds until this attempt reaches its limit."""
        return self._control.seconds_left

    @property
    def said(self) -> str:
        """The text that was shown so far."""
        return "".join(self._shown)

    @property
    def messages(self) -> list[Message]:
        """What a model is told: the context, the user's message, and what was recorded in this turn."""
        return [*self.context, Message("user", self.text), *self.recorded]

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up when the turn is cancelled. Raises AttemptInterrupted."""
        self._control.wait(seconds)

    def stream(self, text: str) -> None:
        """Show a piece of the answer to whoever follows the stream. Raises AttemptInterrupted."""
        self._control.check_limit()
        self._show(clean(text)[0])

    def record(self, message: Message) -> None:
        """Keep a message in the history between the user's and the answer: a tool call, or its result.

        Characters that Postgres cannot keep are replaced, and the answer is marked `cleaned`. Raises ValueError for
        a message of another role (a turn has one user's message, and the context its system messages), for tool
        calls or metadata that JSON cannot say, and where a turn's messages exceed `TURN_MAX` bytes.
        """
        if message.role not in RECORDED_ROLES:
            raise ValueError(f"role {message.role!r} is not one of {', '.join(RECORDED_ROLES)}")
        kept = replace(
            message,
            content=clean(message.content)[0],
            tool_calls=tuple(_json("tool_calls", message.tool_calls)),
            tool_call_id=message.tool_call_id and clean(message.tool_call_id)[0],
            metadata=_json("metadata", message.metadata),
        )
        size = self.recorded_size + size_of(kept)
        if size > TURN_MAX:
            raise ValueError(f"content: with it, this turn's messages are {size} bytes long, more than {TURN_MAX}")
        self.recorded_size = size
        self.cleaned = self.cleaned or kept != message
        self.recorded.append(kept)

    def call(
        self,
        messages: Sequence[Message] | None = None,
        *,
        stream: bool = True,
        tools: Sequence[dict[str, Any]] = (),
        **options: Any,
    ) -> Reply:
        """Call the model with `messages` (those of the turn, when None) and stream its text as it comes.

        `options` go to the provider as they are (`temperature`, `max_tokens` …). Raises ProviderError, which ends
        the attempt and is retried by the rules if the agent lets it pass, AttemptInterrupted, and Deferred when no
        provider can take the call now: let it pass, too, and the request waits until one can.
        """
        if self._provider is None:
            raise ConfigurationError(NONE_CONFIGURED)
        self._control.check_limit()
        request = CallRequest(
            messages=self.messages if messages is None else messages,
            tools=tools,
            options=options,
            attempt=self.attempt,
            request_id=self.request_id,
        )
        completion = self._provider.call(
            request,
            on_text=self._shower() if stream else _ignore,
            on_call=self._called,
            control=self._control,
        )
        self.cleaned = self.cleaned or completion.cleaned
        return completion.reply

    def _show(self, text: str) -> None:
        self._shown.append(text)
        self._feed.write(text)

    def _shower(self) -> Callable[[str], None]:
        """Shows a call's text. Where that begins anew, so does the stream, with what was shown before the call."""
        before = len(self._shown)

        def show(text: str) -> None:
            if isinstance(text, Anew):
                del self._shown[before:]
                self._feed.restart("".join(self._shown))
            self._show(text)

        return show

    def _called(self, call: Call) -> None:
        self.calls.append(call)
        signals.provider_called(call)
        journal.call_ended(call)


def size_of(message: Message) -> int:
    """Bytes of text and JSON that the history keeps of a message."""
    size = len(message.content.encode())
    if message.tool_calls or message.metadata:
        size += len(json.dumps([message.tool_calls, message.metadata]))
    return size


def _json(field: str, value: Any) -> Any:
    try:
        return clean_json(value)
    except ValueError as wrong:
        raise ValueError(f"{field}: {wrong}") from None


def _ignore(_: str) -> None:
    """For a call whose text nobody is to see as it comes."""
