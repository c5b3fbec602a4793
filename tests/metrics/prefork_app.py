"""A Celery application whose tasks run in child processes, measured as ours are."""

from __future__ import annotations

import os
import signal

from celery import Celery

app = Celery("prefork", broker=os.environ["TEST_BROKER"])
app.conf.task_ignore_result = True
app.conf.worker_hijack_root_logger = False
app.conf.task_acks_late = False
app.steps["worker"].add("pipeline.worker.measuring:MeasuringStep")


@app.task(name="prefork.tick")
def tick() -> None:
    """Over at once."""


@app.task(name="prefork.die")
def die() -> None:
    """Kill the child that runs it."""
    os.kill(os.getpid(), signal.SIGKILL)
