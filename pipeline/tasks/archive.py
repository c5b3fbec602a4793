"""The tasks of archiving: beat has the sweep look, and the sweep, or a turn that leaves too much, has it done."""

from __future__ import annotations

import structlog
from celery import Task, shared_task

from pipeline import signals
from pipeline.errors import ConfigurationError, LedgerUnavailable
from pipeline.store.database import UNAVAILABLE
from pipeline.worker.current import runtime_of

log = structlog.get_logger(__name__)

#: What leaves the work to a later sweep.
AWAY = (*UNAVAILABLE, LedgerUnavailable)


@shared_task(name="pipeline.archive", bind=True, ignore_result=True)
def archive(self: Task, session_ids: list[int]) -> None:
    """Archive what is due of these sessions."""
    try:
        report = runtime_of(self.app).archiver.archive(session_ids)
    except AWAY as fault:
        _left_to_the_sweep(fault)
        return
    except ConfigurationError as wrong:  # it says which setting, and quotes nothing of it
        signals.archiving_failed(type(wrong).__name__)
        log.warning("archiving_impossible", error=type(wrong).__name__, why=str(wrong))
        return
    if report.archives or report.failed:
        log.info("archived", archives=report.archives, moved=report.messages, failed=report.failed)


@shared_task(name="pipeline.archive_sweep", bind=True, ignore_result=True)
def sweep(self: Task) -> None:
    """Hand out the sessions that are due."""
    try:
        runtime_of(self.app).sweep.run()
    except AWAY as fault:
        _left_to_the_sweep(fault)


def _left_to_the_sweep(fault: Exception) -> None:
    signals.ledger_failed("archive")
    log.warning("archiving_interrupted", error=type(fault).__name__)
