"""What went wrong in a call, as the facts that retrying is decided on. The provider's own words end here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import openai

from pipeline.providers.retry_after import seconds_asked
from pipeline.retry import Failure

BUDGET = re.compile(
    r"insufficient[_ ](quota|balance|credits?|funds)|billing_(hard_limit_reached|not_active)"
    r"|credit balance is too low"
)
CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|(maximum|max|available) context (length|size|window)"
    r"|context window|(prompt|input) is too long|reduce the length of the (messages|prompt|input)"
)
RATE = re.compile(
    r"rate_limit|rate limit (was |is |has been )?(reached|exceeded|hit)|too[_ ]many[_ ]requests"
    r"|throttl(ed|ing)|resource_exhausted"
)

#: Status codes with which providers say that the input is too long.
CONTEXT_STATUS = frozenset({400, 413, 422})

#: The most of an error's text that is looked at.
TEXT_LIMIT = 2000


class BadReplyError(Exception):
    """The provider's answer is malformed, empty or cut."""


@dataclass(frozen=True, slots=True)
class Said:
    """The provider's own words on an error, in lower case: its codes, and its text."""

    codes: str
    text: str

    @classmethod
    def by(cls, body: object) -> Said:
        """From an error's body, of which no two providers agree on the form."""
        inner = body[0] if isinstance(body, list) and body else body
        if isinstance(inner, Mapping):
            inner = inner.get("error", inner)
        if not isinstance(inner, Mapping):
            return cls("", str(inner or "")[:TEXT_LIMIT].lower())
        codes = " ".join(str(inner.get(name) or "") for name in ("code", "type", "status"))
        text = str(inner.get("message") or inner.get("detail") or "")
        return cls(codes.lower(), text[:TEXT_LIMIT].lower())


def classify(exc: openai.OpenAIError | BadReplyError, *, answering: bool) -> Failure:
    """The facts of a failed call. `answering` says that the response had begun, so that its loss is a cut reply."""
    if isinstance(exc, openai.APIStatusError):
        return _of_status(exc)
    if isinstance(exc, openai.APITimeoutError):
        return Failure("timeout")
    if isinstance(exc, openai.APIConnectionError) and not answering:
        return Failure("connection_error")
    if isinstance(exc, openai.APIError) and exc.body is not None:  # an error in the middle of the stream
        return Failure(_named(Said.by(exc.body), None) or "bad_response")
    return Failure("bad_response")


def _of_status(exc: openai.APIStatusError) -> Failure:
    status = exc.status_code
    reason = _named(Said.by(exc.body), status)
    if reason is None:
        reason = "http_4xx" if 400 <= status < 500 and status != 429 else f"http_{status}"
    return Failure(reason, status, seconds_asked(exc.response.headers))


def _named(said: Said, status: int | None) -> str | None:
    """The reason that the provider's words give, where they say more than the status code."""
    if status == 429:  # what its text says of quotas and billing may well be a limit per minute
        return "budget" if BUDGET.search(said.codes) else None
    words = f"{said.codes} {said.text}"
    if status == 402 or BUDGET.search(words):
        return "budget"
    if (status is None or status in CONTEXT_STATUS) and CONTEXT.search(words):
        return "context_too_long"
    return "rate_limit" if RATE.search(words) else None
