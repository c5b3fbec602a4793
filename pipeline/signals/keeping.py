"""Told of what is archived, brought back, erased and kept no longer."""

from __future__ import annotations

from pipeline import metrics


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
