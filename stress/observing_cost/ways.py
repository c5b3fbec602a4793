"""The ways in which a process may be told to log, set up by the functions that a worker sets them up by."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO

from celery.app.defaults import DEFAULT_PROCESS_LOG_FMT
from celery.utils.log import ColorFormatter

from pipeline import logs
from pipeline.logs.redact import RedactingFormatter, Redactor, secrets_of
from pipeline.settings import Settings

#: With a password and a key to be looked for in every line.
SETTINGS = Settings.model_validate(
    {
        "database_url": "postgresql://pipeline:a-password-to-look-for@localhost/pipeline",
        "providers": [{"name": "a", "base_url": "http://localhost/v1", "model": "m", "api_key": "a-key-to-look-for"}],
        "log_format": "json",
    }
)


@contextmanager
def json(file: TextIO, level: int = logging.INFO) -> Iterator[None]:
    """Each line an object, on standard error, which is `file`."""
    with _restored(), redirect_stderr(file):
        logs.serve(SETTINGS, level=level)
        yield


@contextmanager
def console(file: TextIO) -> Iterator[None]:
    """Celery's own form, as it comes out of a worker."""
    redactor = Redactor(secrets_of(SETTINGS))
    handler = logging.StreamHandler(file)
    handler.setFormatter(RedactingFormatter(ColorFormatter(DEFAULT_PROCESS_LOG_FMT, use_color=False), redactor))
    with _restored():
        logs.configure("console", redactor)
        logging.getLogger().handlers = [handler]
        logging.getLogger().setLevel(logging.INFO)
        yield


@contextmanager
def quiet(file: TextIO) -> Iterator[None]:
    """As `json`, but nothing of a request that goes well is logged."""
    with json(file, logging.WARNING):
        yield


@contextmanager
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        sys.excepthook = hook
