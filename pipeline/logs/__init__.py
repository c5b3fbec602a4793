"""Logs: structlog's events as lines of the standard logging, which Celery and everybody else writes to.

`console` is for people: Celery's own form, with `event key=value …` in it. `json` is for machines: each line is one
object, whoever wrote it, with the ids of the request and the trace that its thread was at work on.
"""

from __future__ import annotations

import json
import logging
import sys
from logging.handlers import WatchedFileHandler
from types import TracebackType
from typing import Any, Literal

import structlog
from structlog.typing import Processor

from pipeline.logs.redact import Redactor, secrets_of
from pipeline.settings import Settings

Form = Literal["json", "console"]

#: Loggers that are heard only when something is wrong: a line a call, with the provider's address; pings.
QUIET = ("httpx2", "openai", "opentelemetry", "urllib3")

#: One encoder for all lines: `json.dumps` with an option of its own makes one for each.
_encode = json.JSONEncoder(ensure_ascii=False, default=repr).encode


def configure(form: Form, redactor: Redactor | None = None) -> None:
    """Make structlog write to the standard logging: events for `formatter` to render, or lines that are whole."""
    rendered: tuple[Processor, ...] = (
        structlog.processors.format_exc_info,
        redactor or Redactor(),
        structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True),
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            *((structlog.stdlib.ProcessorFormatter.wrap_for_formatter,) if form == "json" else rendered),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def adopt(settings: Settings) -> None:
    """For a library in somebody else's program: let what we log go to its handlers.

    Left alone, structlog would print. A program that has configured structlog itself has its way.
    """
    if not structlog.is_configured():
        configure("console", Redactor(secrets_of(settings)))


def serve(settings: Settings, *, level: int | None = None, file: str | None = None) -> None:
    """For a process that is all ours, with `log_format=json`: every line of it is an object, on standard error
    or in `file`."""
    redactor = Redactor(secrets_of(settings))
    configure(settings.log_format, redactor)
    if settings.log_format != "json":
        return
    handler: logging.Handler = WatchedFileHandler(file, encoding="utf-8") if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(json_formatter(redactor))
    root = logging.getLogger()
    root.handlers = [handler]
    logging.captureWarnings(True)  # noqa: FBT003 - the standard library's signature
    sys.excepthook = _log_last_words
    if level is not None:
        root.setLevel(level)


def _log_last_words(kind: type[BaseException], fault: BaseException, at: TracebackType | None) -> None:
    """What the interpreter would print of an error that ends the process."""
    logging.getLogger(__name__).critical("ended by an error", exc_info=(kind, fault, at))


def _to_json(event: dict[str, Any], **_: Any) -> str:
    return _encode(event)


def json_formatter(redactor: Redactor) -> logging.Formatter:
    """Makes one line of JSON of a record, structlog's or anybody's."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redactor,
            structlog.processors.JSONRenderer(_to_json),
        ],
        use_get_message=True,
    )
