"""What a provider is to the rest of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.schemas import Call, Message, Reply

#: What whoever needs a provider is told where there is none.
NONE_CONFIGURED = (
    "No provider is configured and no running stack's simulator was found. Set CITE_AGENT_PROVIDERS to a "
    'JSON list such as [{"name": "…", "base_url": "https://…/v1", "model": "…", "api_key": "…"}], '
    "or start a stack with `pipeline up`."
)


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One question to a model.

    `tools` and `options` (`temperature`, `max_tokens` …) go to the provider as they are. `attempt` counts from 1
    and lengthens the time-out. `request_id` is told to the provider, so that both sides' logs can be joined.
    """

    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a call gave. `cleaned` says that the reply held characters which cannot be kept; they were replaced."""

    reply: Reply
    cleaned: bool = False


class Anew(str):
    """Text that begins a call's text anew: what the call has handed on before is void, for another provider took over
    from one that failed in the middle."""

    __slots__ = ()


class CallControl(Protocol):
    """The reins of a call: another thread pulls them, the call looks often."""

    @property
    def seconds_left(self) -> float:
        """Seconds until the attempt, and the call with it, is over."""

    def check(self) -> None:
        """Raises AttemptInterrupted if the call must stop."""


class Provider(Protocol):
    """An endpoint that answers. Safe to call from many threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    def call(
        self,
        request: CallRequest,
        *,
        on_text: Callable[[str], None],
        on_call: Callable[[Call], None],
        control: CallControl,
    ) -> Completion:
        """Ask, and hand on the answer's text as it comes.

        However the call ends, `on_call` is given its record, once, before this returns or raises; and one for each
        provider tried, where there are several. Raises ProviderError, AttemptInterrupted within 0.3 s of the control
        saying so, or Deferred when it has tried none, or none that was worth a further attempt.
        """

    def close(self) -> None:
        """Let go of idle connections. Calls after this fail."""
