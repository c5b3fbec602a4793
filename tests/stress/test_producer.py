"""The producer as it is run: on a stack of its own, attached to a pipeline, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.assembly import archiver
from pipeline.settings import current
from stress.conclude import conclude
from stress.load.order import Order
from stress.load.senders import HOME, SenderLost, senders
from stress.plan import Closed, Plan
from stress.run import execute
from stress.target import attached
from tests.fleet import Fleet
from tests.servers import eventually
from tests.stress.page import Browser


def run(*options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HOME / "stress" / "producer.py"), *options]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=150, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what a run on a stack of its own has left behind."""
    folder = tmp_path_factory.mktemp("results")
    done = run(
        *(
            "--users",
            "2",
            "--requests",
            "30",
            "--delay",
            "20",
            "--median",
            "0.05",
            "--p99",
            "0.2",
            "--faults",
            "10%",
            "--processes",
            "2",
        ),
        *("--output", str(folder / "metrics.json"), "--report", str(folder / "report.html")),
        *("--require", "success_rate > 50 %", "--require", "p99 < 0.001 ms"),
    )
    (folder / "text").write_text(done.stdout)
    (folder / "lines").write_text(done.stderr)
    (folder / "code").write_text(str(done.returncode))
    return folder


@pytest.fixture(scope="module")
def report(results: Path) -> dict[str, Any]:
    """Its figures."""
    return dict(json.loads((results / "metrics.json").read_text()))


def test_a_threshold_that_does_not_hold_decides_the_exit_code(results: Path, report: dict[str, Any]) -> None:
    assert (results / "code").read_text() == "1", (results / "lines").read_text()
    assert not report["passed"]
    assert [verdict["text"] for verdict in report["verdicts"] if not verdict["passed"]] == ["p99 < 0.001 ms"]


def test_every_request_is_accounted_for_archived_ones_included(report: dict[str, Any]) -> None:
    requests = report["requests"]
    assert requests["total"] == 60
    assert sum(requests["outcomes"].values()) == 60
    assert requests["succeeded"] + requests["failed"] == 60
    assert sum(report["attempts"].values()) == 60
    tries = sum(int(number) * count for number, count in report["attempts"].items())
    assert tries - 60 == sum(report["retries"].values())  # each retried attempt was followed by another
    assert sum(report["series"]["latency"]["answered"]) == requests["succeeded"]
    assert not any(found["count"] for found in report["integrity"].values())


def test_what_can_be_seen_was_measured_and_what_cannot_says_so(report: dict[str, Any]) -> None:
    assert report["memory"]["peak"] >= report["memory"]["start"] > 50e6
    for part in ("workers", "postgres", "broker", "simulator", "producer 1", "producer 2"):
        assert report["cpu"][part] > 0, part
    assert report["running_max"] >= 1
    assert (report["breaker_trips"], report["rate_limit_hits"]) == (0, 0)
    assert report["figures"]["p95"] == report["latency"]["p95"]
    assert set(report["series"]) == {"latency", "queue", "memory", "cpu"}
    for columns in report["series"].values():
        assert len({len(column) for column in columns.values()}) == 1


def test_the_text_begins_with_the_verdict_and_fits_80_columns(results: Path) -> None:
    lines = (results / "text").read_text().splitlines()
    assert lines[0] == "custom: FAILED"
    assert any(line.startswith("  FAIL  p99 < 0.001 ms") for line in lines)
    assert max(map(len, lines)) <= 80


def test_nobody_reads_an_address_or_a_question_in_what_is_left_behind(results: Path) -> None:
    for name in ("metrics.json", "report.html", "text"):
        said = (results / name).read_text()
        assert "postgresql://" not in said
        assert "base_url" not in said
        assert "talk 0" not in said


def test_the_page_loads_nothing_draws_every_chart_and_has_no_script_error(results: Path, tmp_path: Path) -> None:
    page = (results / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    drawn = Browser(tmp_path).open(results / "report.html")
    assert drawn.complaints == ""
    assert drawn.charts == {"latency": 3, "throughput": 2, "queue": 3, "memory": 1, "cpu": 7}
    assert drawn.text.index("custom:") < drawn.text.index("Over time")


def test_a_report_compared_with_another_names_what_changed(results: Path, tmp_path: Path) -> None:
    changed = json.loads((results / "metrics.json").read_text())
    changed["figures"]["p95"] *= 2
    changed["plan"]["workers"] = 3
    (tmp_path / "other.json").write_text(json.dumps(changed))
    done = run("compare", str(results / "metrics.json"), str(tmp_path / "other.json"))
    assert done.returncode == 0, done.stderr
    assert "workers: 2 -> 3" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [(row[0], row[3], row[4]) for row in rows if row and row[0] == "p95"] == [("p95", "+100%", "worse")]
    assert not any(row and row[0] == "p50" for row in rows)


def test_what_is_no_report_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("{}")
    done = run("compare", str(tmp_path / "no.json"), str(tmp_path / "no.json"))
    assert done.returncode == 2
    assert "no.json: is no report of version 1" in done.stderr


def test_it_attaches_to_a_pipeline_by_its_urls_and_sees_its_workers(fleet: Fleet, tmp_path: Path) -> None:
    urls = [fleet.environment[f"CITE_AGENT_{name}_URL"] for name in ("DATABASE", "BROKER")]
    environment = {name: value for name, value in fleet.environment.items() if not name.endswith("_URL")}
    done = run(
        *("--database-url", urls[0], "--broker-url", urls[1], "--agent", "sound", "--quiet"),
        *("--rate", "20:1s", "--output", str(tmp_path / "metrics.json")),
        environment=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["requests"]["succeeded"] == 20
    assert report["memory"]["start"] > 20e6
    assert report["cpu"]["workers"] > 0


@pytest.fixture
def its_environment(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That of the fleet is ours."""
    for name, value in fleet.environment.items():
        monkeypatch.setenv(name, value)
    current.cache_clear()
    yield
    current.cache_clear()


@pytest.mark.usefixtures("its_environment")
def test_an_attached_run_reads_archived_messages_back_from_where_the_environment_says(
    fleet: Fleet,
) -> None:
    plan = Plan("archived", Closed(users=2, requests=3, delay=0.01), agent="sound", patience=60)
    with attached(plan) as target:
        done = execute(plan, target)
        archive(fleet, done.name)
        report = conclude(done)
    assert report.passed, report.verdicts
    assert report.requests.succeeded == 6
    # and it is the archives that it has read
    elsewhere = done.target.settings.model_copy(update={"cold_storage_url": str(fleet.folder / "nothing")})
    done.target = replace(done.target, settings=elsewhere)
    assert conclude(done).integrity.lost.count == 6


def archive(fleet: Fleet, run: str) -> None:
    """All that this run's users have said, so that nothing of it is hot."""
    cold = archiver(fleet.settings, fleet.database)
    sessions = [row[0] for row in fleet.rows("SELECT id FROM sessions WHERE starts_with(user_id, %s)", run)]
    assert cold.archive(sessions, force=True, whole=True).archives == len(sessions) == 2
    cold.close()


def test_a_run_that_is_interrupted_waits_for_what_is_under_way_and_reports(fleet: Fleet, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stress", "--attach", "--agent", "sound", "--users", "3", "--duration", "10m"]
    with (tmp_path / "lines").open("w") as lines:
        running = subprocess.Popen(
            [*command, "--output", str(tmp_path / "metrics.json")],
            cwd=HOME,
            env=fleet.environment,
            stdout=subprocess.DEVNULL,
            stderr=lines,
        )
        try:
            answered = "SELECT count(*) FROM requests WHERE status = 'succeeded'"
            before = fleet.scalar(answered)
            eventually(lambda: fleet.scalar(answered) > before + 5, 60, what="it is at work")
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 0, (tmp_path / "lines").read_text()
        finally:
            running.kill()
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert "stopped after" in report["plan"]["load"]
    assert report["requests"]["succeeded"] == report["requests"]["total"] > 5
    assert not any(found["count"] for found in report["integrity"].values())


def test_a_sender_that_dies_ends_the_run_loudly(fleet: Fleet) -> None:
    order = Order("run", Closed(users=1, duration=30), "sound", 10)
    with pytest.raises(SenderLost, match="ended with status -9"):
        _kill_a_sender_of(order, fleet)


def _kill_a_sender_of(order: Order, fleet: Fleet) -> None:
    with senders(order, 1, fleet.environment, lambda _: None) as sending:
        sending.go()
        sending.processes[0].kill()
        sending.join()
