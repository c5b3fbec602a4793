"""How Celery starts and stops what is ours in a worker: a step of its blueprint."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from typing import Any

import structlog
from celery import bootsteps
from celery.signals import worker_shutting_down

from pipeline import memory, signals
from pipeline.settings import current
from pipeline.transport import garbage
from pipeline.worker.measuring import MeasuringStep
from pipeline.worker.runtime import Runtime

log = structlog.get_logger(__name__)

#: Seconds between making the attempts stop and leaving without those that do not.
LAST_CALL = 3.0

#: Seconds for which a busy thread keeps the interpreter from others. By default a thread that was just told of
#: its commit waits ten times as long behind one that reads messages.
SWITCH_INTERVAL = 0.0005

#: Objects made and kept that make the collector look. By default it is 700, and a batch of claims with their contexts
#: is as many: it looked for a tenth of a busy worker's time, and found nothing, for next to nothing here leads in
#: circles (Celery's entries for what waits for its time do). All is looked at as often as before.
COLLECT_AFTER = 10_000, 3, 2

#: Exit code of a worker that left an attempt behind.
LEFT_SOMETHING = 70


class RuntimeStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Starts before the pool takes tasks, and stops after it has finished them."""

    requires = ("celery.worker.components:Timer", MeasuringStep)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        memory.share_heaps()
        self._settings = current()
        self.runtime = Runtime(self._settings, parent.hostname)
        parent.app.runtime = self.runtime
        self._measuring: MeasuringStep = parent.app.measuring
        garbage.on_garbage.append(_count_garbage)

    def start(self, parent: Any) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL)
        # What has been imported stays: a full collection that walks over it stops every thread for 50 ms and more.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        self.runtime.start()
        worker_shutting_down.connect(self._on_shutting_down, weak=False)
        del parent

    def stop(self, parent: Any) -> None:
        # Whether Celery has stopped its pool before or not: the lease is given back when nothing runs any more.
        self.runtime.wait_idle(self._settings.stop_timeout + LAST_CALL)
        self.runtime.stop()
        del parent

    terminate = stop

    def _on_shutting_down(self, **_: Any) -> None:
        # Called within a signal handler. Celery waits for its threads without a limit, so the limit is kept here.
        self.runtime.wind_down()
        threading.Thread(target=self._limit_shutdown, name="pipeline-stop", daemon=True).start()

    def _limit_shutdown(self) -> None:
        # That nothing runs now does not mean that nothing will: what was claimed a moment ago is on its way.
        time.sleep(self._settings.stop_timeout)
        if self.runtime.wait_idle(0):
            return
        log.warning("stop_timeout", seconds=self._settings.stop_timeout)
        self.runtime.interrupt_all()
        if self.runtime.wait_idle(LAST_CALL):
            return
        self.runtime.stop()
        self._measuring.finish()
        log.error("left_running", note="an agent ignores its cancellation; recovery runs its request elsewhere")
        os._exit(LEFT_SOMETHING)


def _count_garbage(queue: str, _why: str) -> None:
    signals.garbage_found(queue)
