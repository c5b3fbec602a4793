"""Upkeep by beat: what is to go goes."""

from __future__ import annotations

from celery import Task, shared_task

from pipeline.worker.current import runtime_of


@shared_task(name="pipeline.upkeep", bind=True, ignore_result=True)
def upkeep(self: Task) -> None:
    """One look for erasures that nobody finished, and for what has been kept long enough."""
    runtime_of(self.app).upkeep.run()
