"""How a worker's metrics are served: a step of Celery's blueprint, for our worker and for any other.

The parent serves. Where tasks run in threads that is all there is; where they run in child processes the counts are
in files (`PROMETHEUS_MULTIPROC_DIR`, see `pipeline.folding`). At an orderly end, what nobody has scraped yet is left
in Postgres for the exporter to serve (see `pipeline.estate`).
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import celery
import structlog
from celery import bootsteps
from celery import signals as celerys
from celery.exceptions import ImproperlyConfigured
from prometheus_client import Metric, disable_created_metrics

from pipeline import folding, signals
from pipeline.errors import ConfigurationError
from pipeline.serving import Server
from pipeline.settings import current
from pipeline.store.database import Database
from pipeline.store.measures import inheritance

log = structlog.get_logger(__name__)

#: Pools whose tasks run in processes of their own.
PROCESS_POOLS = ("celery.concurrency.prefork",)

#: Celery's states of a task that has run -> ours.
STATES = {"SUCCESS": "success", "FAILURE": "failure", "RETRY": "retry", "IGNORED": "ignored", "REVOKED": "revoked"}

#: Held by whoever looks, and by whoever starts a child: one that was forked in the middle of a look would find the
#: metrics' own locks taken for ever.
_looking = threading.Lock()


class MeasuringStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Counts from before any child is started, and serves until nothing runs any more.

    Celery starts and stops steps in an order of its own, so what must be early is done when this one is made, and
    what must be late when the worker has stopped as a whole.
    """

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        settings = current()
        folder = folding.folder()
        if folder is None and parent.pool_cls.__module__ in PROCESS_POOLS:
            raise ImproperlyConfigured(
                f"tasks in processes need {folding.VARIABLE}: a folder, this worker's alone, for what they count"
            )
        if folder is not None:
            signals.estate.read_from(folding.Family(folder).collect)
        connect()
        self._finished = threading.Lock()
        self._server = Server(look, host=settings.metrics_host, port=settings.metrics_port)
        parent.app.measuring = self

    def start(self, parent: Any) -> None:
        disable_created_metrics()  # a series more for each there is, of which nobody asks
        tell_build()
        self._server.start()
        celerys.worker_shutdown.connect(self.finish, weak=False)
        log.info("metrics_served", url=self._server.url)
        del parent

    def terminate(self, parent: Any) -> None:
        self.finish()
        del parent

    def finish(self, **_: Any) -> None:
        """Serve no more, and leave what nobody has seen. Once: a worker may be told to stop twice."""
        if not self._finished.acquire(blocking=False):
            return
        self._server.stop()
        try:
            database = Database(current().database, size=1)
        except ConfigurationError:
            log.warning("counts_not_handed_on", error="there is no Postgres to leave them in")
            return
        try:
            inheritance.leave(database)
        finally:
            database.close()


def look(seen: bool) -> Iterable[Metric]:  # noqa: FBT001 - the server's signature
    """This process's metrics, and its children's."""
    with _looking:
        measure()
        return signals.estate.look(seen=seen)


def measure(**_: Any) -> None:
    """Tell how large this process is."""
    signals.process_measured()


def tell_build() -> None:
    """Tell what runs here."""
    version = metadata.version("agent-pipeline")
    signals.build_known(version, platform.python_version(), celery.__version__)


def connect() -> None:
    """Count Celery's tasks from now on, in this process and in those that it starts."""
    celerys.task_received.connect(_received, weak=False)
    celerys.task_postrun.connect(_ran, weak=False)
    celerys.task_revoked.connect(_revoked, weak=False)
    celerys.task_rejected.connect(_rejected, weak=False)
    if folding.folder() is not None:
        os.register_at_fork(before=_looking.acquire, after_in_parent=_looking.release, after_in_child=_looking.release)
        celerys.worker_process_init.connect(measure, weak=False)
        celerys.task_postrun.connect(measure, weak=False)


def _received(request: Any = None, **_: Any) -> None:
    signals.celery_task(request.name, "received")


def _ran(task: Any = None, state: str | None = None, **_: Any) -> None:
    signals.celery_task(task.name, STATES.get(state or "", "other"))


def _revoked(request: Any = None, **_: Any) -> None:
    signals.celery_task(request.name, "revoked")


def _rejected(**_: Any) -> None:
    signals.celery_task("unknown", "rejected")  # what could not be read has no name to be trusted
