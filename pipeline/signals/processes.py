"""Told by processes and of servers; and what a process serves of all that it counted."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY, Metric

from pipeline import memory, metrics
from pipeline.estate import Estate

#: Why recovery steps in.
RESCUES = ("worker_lost", "overran", "interrupted", "expired", "message_lost", "due", "aged")


def _collect() -> Iterable[Metric]:
    process_measured()
    return metrics.CATALOGUE.collect()


#: What this process serves of what it counted; agent code's own server finds it in the default registry.
estate = Estate(_collect)
REGISTRY.register(estate)


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
