from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import CHECKS, Finding, Level
from pipeline.doctor.examination import _findings
from pipeline.doctor.site import Site
from pipeline.settings import Settings
from pipeline.store.database import Database
from tests.servers import Broker

#: The findings of one check, by its name in the report.
Look = Callable[..., list[Finding]]


@pytest.fixture
def settings(database: str, broker: Broker) -> Settings:
    return Settings(database_url=database, broker_url=broker.url, broker_timeout=5)


@pytest.fixture
def store(settings: Settings) -> Iterator[Database]:
    opened = Database(settings.database)
    yield opened
    opened.close()


@pytest.fixture
def look(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", str(tmp_path / "stack.json"))

    def find(check: str, *, flower: str | None = None, **changed: Any) -> list[Finding]:
        site = Site(settings.model_copy(update=changed), flower=flower)
        try:
            return _findings(CHECKS[check], site)
        finally:
            site.close()

    return find


@pytest.fixture
def celery(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts Celery's programs; they are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "CITE_AGENT_DATABASE_URL": settings.database,
            "CITE_AGENT_BROKER_URL": settings.broker,
            **variables,
        }
        log = tmp_path / f"{arguments[0]}-{len(started)}.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "celery", "-A", "pipeline", *arguments]
            started.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=file, stderr=file))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(60)


def wrong(findings: list[Finding]) -> list[str]:
    """What is wrong, each with something to do about it."""
    assert all(one.remedy for one in findings if one.level is not Level.fine)
    return [one.what for one in findings if one.level is Level.wrong]


def warned(findings: list[Finding]) -> list[str]:
    assert not wrong(findings)
    return [one.what for one in findings if one.level is Level.warning]


def is_fine(findings: list[Finding]) -> bool:
    return {one.level for one in findings} == {Level.fine}
