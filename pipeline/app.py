"""The Celery application: `celery -A pipeline worker`, `beat`, `flower`."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import click
from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from pipeline import beat, logs
from pipeline.errors import ConfigurationError
from pipeline.logs import celery_programs
from pipeline.resources import bundled
from pipeline.settings import current

#: Imported by workers, so that they know the tasks.
TASKS = ("pipeline.tasks.answer", "pipeline.tasks.archive", "pipeline.tasks.recover", "pipeline.tasks.upkeep")


def create_app() -> Celery:
    """A Celery application with the settings of `celeryconfig.py`. Raises ConfigurationError without a broker."""
    settings = current()
    logs.serve(settings)
    celery_programs.follow(settings)
    # Where Celery shows its settings, it opens the broker's URL by its scheme.
    TRANSPORT_ALIASES.setdefault("unix", "pipeline.transport.broker:Transport")
    app = Celery("pipeline", include=TASKS, events="pipeline.transport.events:Events")
    app.config_from_object(_load("celeryconfig.py"))
    app.steps["worker"].update(("pipeline.worker.measuring:MeasuringStep", "pipeline.worker.step:RuntimeStep"))
    beat.connect()
    app.set_default()
    return app


def for_command_line() -> Celery:
    """The application for Celery's own commands, to whom a missing broker is told in a line.

    Celery would show a traceback of whatever is raised but SystemExit.
    """
    try:
        return create_app()
    except ConfigurationError as wrong:
        if click.get_current_context(silent=True) is None:
            raise
        click.echo(f"Error: {wrong}", err=True)
        raise SystemExit(2) from None


def _load(name: str) -> ModuleType:
    # By path: a module of that name in the working folder is somebody else's.
    spec = importlib.util.spec_from_file_location("pipeline.celeryconfig", bundled(name))
    assert spec is not None  # noqa: S101 - the path ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
