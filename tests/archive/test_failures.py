"""Whatever keeps an archive from being written is counted, logged and tried again."""

from __future__ import annotations

import psycopg
import pytest
from celery import Celery
from structlog.testing import capture_logs

from pipeline import Settings
from pipeline.archive import archiver as archiving
from pipeline.archive.summary import Extractive
from pipeline.metrics import ARCHIVE_FAULTS
from pipeline.tasks import archive as _known  # noqa: F401 - whoever imports it knows the task
from pipeline.worker.runtime import Runtime
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library
from tests.servers import Broker
from tests.store.desk import Sql


def counted(error: str) -> float:
    value: float = ARCHIVE_FAULTS.labels(error)._value.get()
    return value


def test_an_archive_whose_session_is_held_for_too_long_is_counted_and_logged(
    make_archiver: MakeArchiver, library: Library, sql: Sql, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "PATIENCE", 2)
    session, before = library.converse(4), counted("SessionBusy")

    with psycopg.connect(ledger_url) as holder:

        class Held(Extractive):
            """While the summary is made, somebody begins to hold the session."""

            def sum_up(self, old: str | None, messages: object) -> tuple[str, str]:
                holder.execute("SELECT FROM sessions FOR UPDATE")
                return super().sum_up(old, messages)  # type: ignore[arg-type]  # as it was given

        with capture_logs() as said:
            report = make_archiver(summariser=Held()).archive([session])
    assert (report.archives, report.failed) == (0, 1)
    assert counted("SessionBusy") == before + 1
    assert [(line["event"], line["error"], line["failures"]) for line in said] == [
        ("archiving_failed", "SessionBusy", 1)
    ]
    assert sql.execute("SELECT failures, error FROM archives").fetchall() == [(1, "SessionBusy")]


def test_a_worker_without_a_storage_that_can_be_opened_counts_and_logs_it(ledger_url: str, broker: Broker) -> None:
    app, before = Celery("without storage", set_as_current=False), counted("ConfigurationError")
    settings = Settings(database_url=ledger_url, broker_url=broker.url, cold_storage_url="s3://")
    app.runtime = Runtime(settings, "without storage")
    try:
        with capture_logs() as said:
            assert app.tasks["pipeline.archive"].apply(args=([1],)).successful()
    finally:
        app.runtime.stop()
    assert counted("ConfigurationError") == before + 1
    [line] = [line for line in said if line["event"] == "archiving_impossible"]
    assert "CITE_AGENT_COLD_STORAGE_URL" in line["why"]
