"""The task that answers a request. What happened is committed before Celery hears of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.exceptions import Ignore, Retry

from pipeline.errors import Deferred, LedgerUnavailable, RequestExpired, RequestFailed
from pipeline.schemas import Status
from pipeline.worker.current import runtime_of


class AnswerTask(Task):  # type: ignore[misc]  # celery ships no types
    """Retried by Celery's own retry; how often and when is the ledger's decision."""

    max_retries = None
    throws = (RequestFailed, RequestExpired)

    def dropped(self) -> Ignore:
        """Show the delivery as IGNORED: Celery sends no event for that."""
        self.send_event("task-ignored")
        return Ignore()

    def on_retry(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        del exc, task_id, args, kwargs
        _let_frames_go(einfo)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        del exc, task_id, args, kwargs
        _let_frames_go(einfo)


def _let_frames_go(einfo: Any) -> None:
    """What was raised leads to the frames it came through, and Celery keeps it in one of those: with Celery's record of
    every position in their code, some 3,000 objects a retry would stay until a collector comes by. What it shows of
    an error is text by now."""
    raised = getattr(einfo.exception, "exc", einfo.exception)
    raised.__traceback__ = None


@shared_task(name="pipeline.answer", base=AnswerTask, bind=True, ignore_result=True)
def answer(self: AnswerTask, request_id: str, number: int) -> None:
    """Answer one request, if it is this delivery's to answer. `number` counts the request's publications."""
    # What an agent or a provider said must not reach Celery, so nothing is raised within an `except`.
    try:
        verdict = runtime_of(self.app).answer(UUID(request_id), number)
    except LedgerUnavailable:
        verdict = None  # the worker stops; the ledger has the request, recovery will run it
    if verdict is None or verdict.ending is None or verdict.claim is None:
        raise self.dropped()
    ending, claim = verdict.ending, verdict.claim
    failure = RequestFailed(request_id, ending.reason or "unknown", claim.attempt)
    put_off = Deferred(ending.reason or "unknown", ending.delay or 0.0)
    match ending.status:
        case Status.retrying | Status.queued if ending.countdown:
            shown = {"argsrepr": self.request.argsrepr, "kwargsrepr": self.request.kwargsrepr}
            exc = failure if ending.status is Status.retrying else put_off
            raise self.retry(exc=exc, countdown=ending.delay, throw=False, **shown)
        case Status.retrying:
            # Too long for a message to be held: the ledger publishes it when it is due. Shown as what it is.
            raise Retry(exc=failure, when=ending.delay)
        case Status.queued:
            # No attempt was made; the ledger publishes it when it is due.
            raise Retry(exc=put_off, when=ending.delay)
        case Status.failed:
            raise failure
        case Status.expired:
            raise RequestExpired(request_id)
        case Status.cancelled:
            raise self.dropped()
        case _:
            return


def celery_options(settings: Any) -> dict[str, Any]:
    """The task's attributes of Celery's that follow from the settings, for whoever looks at the task in Flower."""
    return {
        "retry_backoff": settings.retry_initial_delay,
        "retry_backoff_max": settings.retry_max_delay,
        "retry_jitter": settings.retry_jitter,
    }
