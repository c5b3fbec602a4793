"""What happened, told by whoever it happened to: the only place that counts.

Everything else calls these functions, and none of it knows how its calls are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from datetime import datetime

from prometheus_client import REGISTRY, Metric

from pipeline import memory, metrics
from pipeline.estate import Estate
from pipeline.schemas import Call, Status
from pipeline.users import OTHER, Claim, UserLabels

#: Outcome -> the label that dashboards know.
STATUS = {
    Status.succeeded: "success",
    Status.failed: "failure",
    Status.cancelled: "cancelled",
    Status.expired: "expired",
}

#: Why recovery steps in.
RESCUES = ("worker_lost", "overran", "expired", "message_lost", "due", "aged")


def _collect() -> Iterable[Metric]:
    process_measured()
    return metrics.CATALOGUE.collect()


#: What this process serves of what it counted; agent code's own server finds it in the default registry.
estate = Estate(_collect)
REGISTRY.register(estate)

_labels = UserLabels()
#: Who can be asked for labels, the newest last: a process may have several clients, or one within its worker.
_claims: list[Claim] = []
#: Users whose series are there.
_begun: set[str] = set()


# -- users ------------------------------------------------------------------------------------------------------------


def label_users_by(claim: Claim) -> None:
    """From now on ask `claim` which users have a label of their own; until then none has."""
    _claims.append(claim)
    _ask_the_newest()


def label_users_without(claim: Claim) -> None:
    """Whoever came before it is asked again: this one is closed. The last one's labels stay as they are."""
    if claim in _claims:
        _claims.remove(claim)
        if _claims:
            _ask_the_newest()


def _ask_the_newest() -> None:
    global _labels  # noqa: PLW0603 - a process has one set of metrics
    _labels = UserLabels(_claims[-1], on_lost=user_forgotten)


def user_label(user_id: str) -> str:
    """What a user is called in metrics: every name of its own would be a series of its own."""
    return _labels.of(user_id)


def users_met(user_ids: Collection[str]) -> None:
    """These users are about to be counted: one question for all of them is cheaper than one each."""
    _labels.learn(user_ids)


def users_known() -> frozenset[str]:
    """The users who have a label of their own, as far as this process has heard."""
    return _labels.known


def users_shown() -> set[str]:
    """The users who have a label of their own here."""
    return (estate.values("user_id") | _labels.known) - {OTHER}


def user_forgotten(user_id: str) -> None:
    """This user's name is to be seen no more. What was counted under it stays, under `other`."""
    if user_id == OTHER:
        return
    _labels.forget(user_id)

    def remove() -> None:
        _begun.discard(user_id)
        for labelled in (metrics.REQUESTS, metrics.REQUEST_DURATION, metrics.RATE_LIMIT_HITS):
            labelled.remove_by_labels({"user_id": user_id})

    estate.relabel("user_id", user_id, OTHER, remove)


# -- requests ---------------------------------------------------------------------------------------------------------


def request_begun(user_id: str) -> None:
    """A worker begins with a request, or sees that it may expire. Its series are made now: to Prometheus, one that
    begins at 1 never rose."""
    user = _labels.of(user_id)
    if user not in _begun:
        _begun.add(user)
        for outcome in STATUS.values():
            metrics.REQUESTS.labels(user, outcome)
        metrics.REQUEST_DURATION.labels(user, STATUS[Status.succeeded])


def request_ended(status: Status, user_id: str, *, seconds: float, attempts: int, trace_id: str | None = None) -> None:
    """A request's outcome is committed, `seconds` after its acceptance. Whoever committed it tells, once."""
    user, outcome = _labels.of(user_id), STATUS[status]
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
    metrics.RATE_LIMIT_HITS.labels(user_label(user_id)).inc()


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


# -- rescue -----------------------------------------------------------------------------------------------------------


def duplicate_delivered() -> None:
    """A request was delivered that was not to be run: it ran already, had ended, or was not its session's turn."""
    metrics.DUPLICATE_DELIVERIES.inc()


def claim_lost(why: str) -> None:
    """An attempt ended without its claim: cancelled, too slow, or taken over."""
    metrics.LOST_CLAIMS.labels(why).inc()


def heartbeat_late() -> None:
    """A worker's sign of life came so late that its lease was as good as lost."""
    metrics.LATE_HEARTBEATS.inc()


def worker_forgotten() -> None:
    """The ledger did not know a living worker any more, which registers again."""
    metrics.FORGOTTEN_WORKERS.inc()


def recovered(why: str, requests: int) -> None:
    """Recovery ended so many requests, ran them again or published them again."""
    metrics.RECOVERED.labels(why).inc(requests)


# -- providers --------------------------------------------------------------------------------------------------------


def provider_called(call: Call) -> None:
    """A call of a provider has ended. One that was interrupted says nothing of the provider."""
    if call.reason == "interrupted":
        return
    provider = call.provider
    metrics.PROVIDER_REQUESTS.labels(provider, "failure" if call.reason else "success").inc()
    metrics.PROVIDER_LATENCY.labels(provider).observe(_seconds(call.started_at, call.finished_at))
    if call.first_token_at is not None:
        metrics.FIRST_TOKEN.labels(provider).observe(_seconds(call.started_at, call.first_token_at))
    if call.reason:
        metrics.PROVIDER_ERRORS.labels(provider, call.reason).inc()


def provider_paid(calls: Iterable[Call], *, used: bool) -> None:
    """An attempt, or a summary, has spent this; `used` says whether it came to its answer."""
    for call in calls:
        label = "true" if used and not call.reason else "false"
        for direction, tokens in (("input", call.usage.input_tokens), ("output", call.usage.output_tokens)):
            if tokens:
                metrics.TOKENS.labels(call.provider, direction, label).inc(tokens)
        if call.cost:
            metrics.COST.labels(call.provider, label).inc(call.cost)


def breaker_opened(provider: str) -> None:
    """A provider's breaker, or that of one of its models, has opened."""
    metrics.BREAKER_TRIPS.labels(provider).inc()


def breaker_went_local() -> None:
    """The broker is away: a call was decided on by this worker's own breakers and limits."""
    metrics.LOCAL_BREAKER.inc()


# -- archiving --------------------------------------------------------------------------------------------------------


def archived(*, archives: int, messages: int) -> None:
    """So many messages went to cold storage, in so many archives, each of one session; they are committed."""
    metrics.ARCHIVED_MESSAGES.inc(messages)
    metrics.ARCHIVED_SESSIONS.inc(archives)


def archiving_failed(error: str) -> None:
    """An object could not be written, read back or removed; its messages stay where they are."""
    metrics.ARCHIVE_FAULTS.labels(error).inc()


def restored(*, messages: int) -> None:
    """Messages are hot again."""
    metrics.RESTORED_MESSAGES.inc(messages)


def summary_failed(provider: str, reason: str) -> None:
    """A provider gave no summary; an extractive one was made instead."""
    metrics.SUMMARY_FAULTS.labels(provider, reason).inc()


def erased() -> None:
    """An erasure is complete."""
    metrics.ERASURES.inc()


def erasing_failed(where: str) -> None:
    """Something that is to be erased could not be removed: from `postgres`, `storage`, `broker` or `broker_files`."""
    metrics.ERASURE_FAULTS.labels(where).inc()


def retired(what: str, count: int) -> None:
    """So many `requests`, `archives`, `objects` or rows of `spending` are gone because their time was over."""
    metrics.RETIRED.labels(what).inc(count)


# -- servers and processes --------------------------------------------------------------------------------------------


def broker_failed(operation: str, times: int = 1) -> None:
    """Something could not be given to the broker, or taken from it."""
    metrics.BROKER_FAULTS.labels(operation).inc(times)


def ledger_failed(operation: str) -> None:
    """Postgres did not answer, or refused what it was given."""
    metrics.LEDGER_FAULTS.labels(operation).inc()


def thread_failed(thread: str) -> None:
    """A look of one of this process's own threads ended in an error that nobody had foreseen; the next one follows."""
    metrics.THREAD_FAULTS.labels(thread).inc()


def exporter_failed(source: str) -> None:
    """The exporter could not look at a source."""
    metrics.EXPORTER_FAULTS.labels(source).inc()


def scrape_failed() -> None:
    """A scraper could not be told the metrics of this process."""
    metrics.EXPORTER_FAULTS.labels("scrape").inc()


def garbage_found(queue: str) -> None:
    """An entry of a queue was not a message."""
    metrics.QUEUE_GARBAGE.labels(queue).inc()


def celery_task(name: str, state: str) -> None:
    """Something happened to a Celery task."""
    metrics.CELERY_TASKS.labels(name, state).inc()


def worker_begun(providers: Iterable[str], retried: Iterable[str]) -> None:
    """A worker with these providers, which retries for these reasons. As in `request_begun`, series are made now."""
    for why in RESCUES:
        metrics.RECOVERED.labels(why)
    for provider in providers:
        for status in ("success", "failure"):
            metrics.PROVIDER_REQUESTS.labels(provider, status)
        metrics.BREAKER_TRIPS.labels(provider)
    for reason in retried:
        for success in ("true", "false"):
            metrics.RETRIES.labels(reason, success)


def process_measured() -> None:
    """This process is as large as it is now."""
    metrics.MEMORY.set(memory.resident())


def build_known(version: str, python: str, celery: str) -> None:
    """What runs here."""
    metrics.BUILD.labels(version, python, celery).set(1)


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())  # a wall clock may be set back
