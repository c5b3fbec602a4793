"""Told of requests: on their way in, in their attempts, at their end."""

from __future__ import annotations

from contextlib import AbstractContextManager

from pipeline import metrics
from pipeline.schemas import Status
from pipeline.signals import users

#: Outcome -> the label that dashboards know.
STATUS = {
    Status.succeeded: "success",
    Status.failed: "failure",
    Status.cancelled: "cancelled",
    Status.expired: "expired",
}


def request_begun(user_id: str) -> None:
    """A worker begins with a request, or sees that it may expire. Its series are made now: to Prometheus, one that
    begins at 1 never rose."""
    user = users.user_label(user_id)
    if users.is_new(user):
        for outcome in STATUS.values():
            metrics.REQUESTS.labels(user, outcome)
        metrics.REQUEST_DURATION.labels(user, STATUS[Status.succeeded])


def request_ended(status: Status, user_id: str, *, seconds: float, attempts: int, trace_id: str | None = None) -> None:
    """A request's outcome is committed, `seconds` after its acceptance. Whoever committed it tells, once."""
    user, outcome = users.user_label(user_id), STATUS[status]
    metrics.REQUESTS.labels(user, outcome).inc()
    exemplar = {"trace_id": trace_id} if trace_id else None
    metrics.REQUEST_DURATION.labels(user, outcome).observe(seconds, exemplar)
    metrics.ATTEMPTS.observe(attempts)


def attempt_ended(status: Status, number: int, *, waited: float | None, ran: float, retried_for: str | None) -> None:
    """An attempt's end is committed. It `waited` and `ran` so many seconds; `retried_for` is why it was made."""
    if waited is not None:
        metrics.QUEUE_WAIT.observe(max(0.0, waited))
    if number > 1 and retried_for is not None and status is not Status.cancelled:
        success = "true" if status is Status.succeeded else "false"
        metrics.RETRIES.labels(retried_for, success).inc()
        metrics.RETRY_DURATION.labels(success).observe(ran)


def retry_decided(delay: float) -> None:
    """A failed attempt is to be followed by another, in `delay` seconds."""
    metrics.RETRY_DELAY.observe(delay)


def deferred(reason: str) -> None:
    """A request was put off without an attempt: no provider could take its call."""
    metrics.DEFERRALS.labels(reason).inc()


def in_progress() -> AbstractContextManager[None]:
    """A request is being run by this worker."""
    return metrics.IN_PROGRESS.track_inprogress()


def overhead(seconds: float) -> None:
    """The pipeline's own part of an attempt took so long."""
    metrics.OVERHEAD.observe(seconds)


def rate_limited(user_id: str) -> None:
    """A request was refused because its user sends too many."""
    metrics.RATE_LIMIT_HITS.labels(users.user_label(user_id)).inc()


def queue_full() -> None:
    """A request was refused because too many wait."""
    metrics.QUEUE_REJECTIONS.inc()


def queue_nearly_full() -> None:
    """The queue was seen beyond its warning mark."""
    metrics.QUEUE_WARNINGS.inc()


def admitted_unchecked(why: str, requests: int) -> None:
    """So many requests were let in without a look at the limits."""
    metrics.UNCHECKED_ADMISSIONS.labels(why).inc(requests)


def session_busy(on_busy: str) -> None:
    """A request met a busy session: it was refused, or has made the running one stop."""
    metrics.BUSY_SESSIONS.labels(on_busy).inc()


def replayed(requests: int) -> None:
    """So many requests were asked once more."""
    metrics.REPLAYS.inc(requests)
