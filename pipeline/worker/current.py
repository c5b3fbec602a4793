"""Where tasks find the runtime of the worker they run in; beat and Flower, which know the tasks, have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    from pipeline.worker.runtime import Runtime


def runtime_of(app: Celery) -> Runtime:
    """The runtime of the worker process that `app` runs in."""
    runtime: Runtime = app.runtime
    return runtime
