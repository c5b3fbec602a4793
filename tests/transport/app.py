"""A small Celery application on the real settings. Its tasks write down in a file when they start and end."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

from pipeline.resources import bundled
from pipeline.transport import garbage

FOLDER = Path(os.environ.get("TEST_FOLDER", "."))


def _settings() -> Any:
    spec = importlib.util.spec_from_file_location("pipeline_celeryconfig", bundled("celeryconfig.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


app = Celery("test")
app.config_from_object(_settings())


def write_down(*words: str) -> None:
    """Append a line in one write, so that threads and processes do not mix theirs."""
    descriptor = os.open(FOLDER / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (" ".join(words) + "\n").encode())
    os.close(descriptor)


garbage.on_garbage.append(lambda queue, why: write_down("garbage", queue, why))


@app.task(name="test.note")
def note(name: str) -> None:
    """Over at once."""
    write_down("start", name)
    write_down("end", name)


@app.task(name="test.hold")
def hold(name: str, gate: str) -> None:
    """Runs until the file `gate` exists."""
    write_down("start", name)
    while not (FOLDER / gate).exists():
        time.sleep(0.02)
    write_down("end", name)


@app.task(name="test.noop")
def noop() -> None:
    """Nothing."""
