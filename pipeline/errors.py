"""Every error that the pipeline raises on purpose: one root, one sentence a class, facts as attributes.

The docstring of a class is its default message.
"""

from __future__ import annotations

from math import ceil
from typing import Any


class PipelineError(Exception):
    """Something in the pipeline went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)

    def __reduce__(self) -> tuple[Any, ...]:
        # By its facts, not by calling the class with its message: Celery shows an error that cannot be pickled as
        # another, more general one.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls: type[PipelineError], args: tuple[object, ...], facts: dict[str, Any]) -> PipelineError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(facts)
    return error


class ConfigurationError(PipelineError):
    """The settings do not describe a pipeline that can run."""


class InvalidRequest(PipelineError):
    """The request is not one that can be answered; nothing was stored."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


class NotAdmitted(PipelineError):
    """The request was not accepted, for now; nothing was stored. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"{message}; try again in {_rounded_up(retry_after)} s")


def _rounded_up(seconds: float) -> str:
    """In plain digits, and never less: whoever comes at the time told is not too early."""
    return f"{ceil(seconds * 10) / 10:g}" if seconds < 10 else str(ceil(seconds))


class RateLimited(NotAdmitted):
    """This user has submitted too many requests lately."""

    def __init__(self, rate: str, retry_after: float) -> None:
        super().__init__(f"user_id: this user has used up {rate}", retry_after)


class QueueFull(NotAdmitted):
    """Too many requests wait for a worker."""

    def __init__(self, depth: int, limit: int, retry_after: float) -> None:
        self.depth = depth
        self.limit = limit
        super().__init__(f"the queue is full: {depth} requests wait, of at most {limit}", retry_after)


class SessionBusy(PipelineError):
    """The conversation has a request without an outcome, and this one was not to wait for it; nothing was stored."""

    def __init__(self, user_id: str, conversation_id: str) -> None:
        self.user_id = user_id
        self.conversation_id = conversation_id
        super().__init__(
            f"conversation_id: {conversation_id!r} has a request without an outcome; wait for it, or submit with "
            "on_busy='queue' or 'interrupt'"
        )


class IdempotencyConflict(PipelineError):
    """The idempotency key was used before, with other content."""

    def __init__(self, key: str, request_id: str) -> None:
        self.key = key
        self.request_id = request_id
        super().__init__(
            f"idempotency_key: {key!r} belongs to request {request_id}, whose content differs; use a new key"
        )


class RequestNotFound(PipelineError):
    """There is no request with this id."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"there is no request {request_id}")


class ReplayRefused(PipelineError):
    """The request is not one that can be asked once more."""

    def __init__(self, request_id: str, why: str) -> None:
        self.request_id = request_id
        self.why = why
        super().__init__(f"request {request_id} cannot be retried: {why}")


class LedgerUnavailable(PipelineError):
    """Postgres did not answer, so nothing is known to be stored; try again."""


class BrokerUnavailable(PipelineError):
    """The broker did not take the messages, or did not say so in time; some of them may have been sent."""


class ClientClosed(PipelineError):
    """The client was closed; what it submitted goes on, and can be waited for by another one."""


class ClientForked(PipelineError):
    """This client was used before its process forked, and its threads and connections are the parent's: make a Client
    in each process, or do not use it before the fork."""


class WaitTimeout(PipelineError):
    """The request has no outcome yet; it goes on, and can be waited for again."""

    def __init__(self, request_id: str, timeout: float) -> None:
        self.request_id = request_id
        self.timeout = timeout
        super().__init__(f"request {request_id} has no outcome after {timeout:g} s; it goes on")


class RequestEnded(PipelineError):
    """The request ended without an answer."""

    def __init__(self, request_id: str, message: str) -> None:
        self.request_id = request_id
        super().__init__(f"request {request_id} {message}")


class RequestFailed(RequestEnded):
    """The request failed for good."""

    def __init__(self, request_id: str, reason: str, attempts: int) -> None:
        self.reason = reason
        self.attempts = attempts
        super().__init__(request_id, f"failed: {reason}, after {attempts} attempt(s)")


class RequestExpired(RequestEnded):
    """The deadline passed before there was an answer."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id, "expired: its deadline passed before there was an answer")


class RequestCancelled(RequestEnded):
    """The request was cancelled."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id, "was cancelled")


class AttemptInterrupted(PipelineError):
    """This attempt must stop: it was cancelled, ran too long, or another worker has taken over."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"the attempt must stop: {why}")


class Deferred(PipelineError):
    """No provider can take this call now: their breakers are open, or their limits spent.

    `seconds` is how long it is until one may. Of those that it was asked of, if any, each failed in a way that would
    have been final, had no other been worth waiting for.
    """

    def __init__(self, reason: str, seconds: float) -> None:
        self.reason = reason
        self.seconds = seconds
        super().__init__(f"no provider can take the call: {reason}; in {seconds:.1f} s one may")


class ProviderError(PipelineError):
    """A call of a provider failed.

    `reason` is one of the retry reasons; `status_code`, `retry_after` (seconds) are None where the provider
    gave none. The message never holds what the provider said: that may quote the prompt.
    """

    def __init__(
        self,
        reason: str,
        *,
        provider: str,
        status_code: int | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        self.reason = reason
        self.provider = provider
        self.status_code = status_code
        self.retry_after = retry_after
        super().__init__(f"{provider}: {reason}" + (f" ({detail})" if detail else ""))


class AnswerGone(PipelineError):
    """The request was answered, but its answer is no longer kept."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"request {request_id} was answered, but its answer is no longer kept")


class SessionNotFound(PipelineError):
    """There is no such conversation."""

    def __init__(self, user_id: str, conversation_id: str) -> None:
        self.user_id = user_id
        self.conversation_id = conversation_id
        super().__init__(f"conversation: there is none {conversation_id!r} of user {user_id!r}")


class StorageFailed(PipelineError):
    """Cold storage did not do what it was asked: it is full, slow, denied or down.

    `kind` is the class of what it raised. The message never holds what the service said: that may quote keys.
    """

    def __init__(self, operation: str, kind: str) -> None:
        self.operation = operation
        self.kind = kind
        super().__init__(f"cold storage failed to {operation}: {kind}")


class ArchiveDamaged(PipelineError):
    """An archive is not what was written."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.why = why
        super().__init__(f"archive {name} is damaged: {why}")


class ObjectNotFound(ArchiveDamaged):
    """An archive's object is not in cold storage."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "its object is not there")


class ArchiveBusy(PipelineError):
    """The conversation is being archived at this moment; try again."""

    def __init__(self, user_id: str, conversation_id: str) -> None:
        self.user_id = user_id
        self.conversation_id = conversation_id
        super().__init__(f"conversation {conversation_id!r} of user {user_id!r} is being archived; try again")


class ReceiptNotFound(PipelineError):
    """There is no receipt with this id."""

    def __init__(self, receipt_id: str) -> None:
        self.receipt_id = receipt_id
        super().__init__(f"there is no receipt {receipt_id}")
