"""What a call that is over says of its provider: only the provider's own faults count against it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import ProviderError
from pipeline.providers.gate.gate import Verdict
from pipeline.schemas import Call

#: Faults beside status codes of 500 and more.
FAULTS = frozenset({"timeout", "connection_error", "bad_response", "rate_limit", "http_429"})

#: Seconds by which a call's own record may be short of the limit that ended it.
SLACK = 0.05


@dataclass(frozen=True, slots=True)
class Granted:
    """The seconds that a provider has for a call, and for its first token, unless the caller wants it sooner."""

    whole: float
    first_token: float

    def are_over(self, call: Call) -> bool:
        """Whether it was the provider that took too long."""
        took = (call.finished_at - call.started_at).total_seconds() + SLACK
        return took >= self.whole or (call.first_token_at is None and took >= self.first_token)


def verdict_of(call: Call, error: ProviderError | None, granted: Granted, *, interrupted: bool) -> Verdict:
    """`interrupted`: the attempt was over when the call was. Then a call may have been cut off before its provider had
    the time that it is granted, which is nobody's fault."""
    closed_for = error.retry_after if error is not None else None
    if call.reason is None:
        return Verdict(tokens=_used(call))
    cut_off = interrupted and call.reason == "timeout" and not granted.are_over(call)
    if cut_off or not _is_fault(call):
        return Verdict(void=True, tokens=_used(call), closed_for=closed_for)
    return Verdict(call.reason, tokens=_used(call), closed_for=closed_for)


def _is_fault(call: Call) -> bool:
    return call.reason in FAULTS or (call.status_code or 0) >= 500


def _used(call: Call) -> int | None:
    """Tokens; none for a call that was refused or never came through, None where that is not known."""
    used = call.usage.input_tokens + call.usage.output_tokens
    if used:
        return used
    return 0 if (call.status_code or 0) >= 400 or call.reason == "connection_error" else None
