"""Recovery by beat, for when no worker's own comes to it."""

from __future__ import annotations

from celery import Task, shared_task

from pipeline.worker.current import runtime_of


@shared_task(name="pipeline.recover", bind=True, ignore_result=True)
def recover(self: Task) -> None:
    """One look for what cannot go on by itself."""
    runtime_of(self.app).recovery.run()
