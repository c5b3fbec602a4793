"""The lines of Celery's own programs, worker, beat and Flower, in the form that the settings name.

Beat prints a banner before anybody can ask it not to: `celery -q -A pipeline beat` leaves it out.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from celery import signals
from celery.apps import worker

from pipeline.logs import serve
from pipeline.logs.redact import RedactingFormatter, Redactor, secrets_of
from pipeline.settings import Settings

#: By which a connected receiver is known, so that a second application does not connect it again.
OURS = "pipeline.logs"


def follow(settings: Settings) -> None:
    """Have them written so, whenever Celery sets its logging up in this process."""
    if settings.log_format == "json":
        _write_objects(settings)
    else:
        _keep_private(Redactor(secrets_of(settings)))


def _write_objects(settings: Settings) -> None:
    def take_over(loglevel: int | None = None, logfile: str | None = None, **_: Any) -> None:
        serve(settings, level=loglevel, file=logfile)

    def silence_banner(instance: Any, **_: Any) -> None:
        instance.quiet = True

    signals.setup_logging.connect(take_over, weak=False, dispatch_uid=OURS)
    signals.celeryd_init.connect(silence_banner, weak=False, dispatch_uid=OURS)
    worker.safe_say = _say


def _keep_private(redactor: Redactor) -> None:
    def wrap(logger: logging.Logger, **_: Any) -> None:
        for handler in logger.handlers:
            if handler.formatter is not None and not isinstance(handler.formatter, RedactingFormatter):
                handler.setFormatter(RedactingFormatter(handler.formatter, redactor))

    signals.after_setup_logger.connect(wrap, weak=False, dispatch_uid=OURS)
    signals.after_setup_task_logger.connect(wrap, weak=False, dispatch_uid=OURS)


def _say(message: str, _file: object = None) -> None:
    """What a worker says of a signal, from within the signal's handler, where no logger may be used."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = {"event": message, "logger": "celery.apps.worker", "level": "warning", "timestamp": now}
    os.write(2, f"{json.dumps(line)}\n".encode())
