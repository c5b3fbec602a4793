"""A real Prometheus on a loaded fleet: every panel shows something, and slow load fires its alert."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import prometheus_client
import pytest

from pipeline import Client
from pipeline.errors import NotAdmitted
from pipeline.local import process
from pipeline.local.process import Launch
from pipeline.providers.simulator import Fault, Fixed, Simulator
from pipeline.users import OTHER
from tests.fleet import PATIENCE, Fleet
from tests.metrics import prometheus
from tests.metrics.prometheus import Prometheus
from tests.metrics.scraping import ExporterProcess, url_of
from tests.metrics.test_exact import settle
from tests.servers import eventually

DASHBOARDS = Path(__file__).resolve().parents[2] / "ops" / "grafana" / "dashboards"

#: Seconds: over the threshold of HighLatency.
SLOW = 31

#: What only a server's fault makes.
QUIET = re.compile("(broker|ledger|thread|exporter)_faults_total")

#: What each part of the load leaves behind, so that more than a nought is found where it should be.
CAUSED = (
    'cite_agent_circuit_breaker_trips_total{provider="simulator"}',
    'cite_agent_deferrals_total{reason="breaker_open"}',
    'cite_agent_rate_limit_hits_total{user_id="user 0"}',
    "cite_agent_queue_rejections_total",
    "cite_agent_session_archived_messages_total",
    "cite_agent_sessions_archived_total",
    'cite_agent_queue_garbage_total{queue="batch"}',
    'cite_agent_retry_attempts_total{success="true"}',
    'cite_agent_requests_total{status="cancelled"}',
)

#: So that a breaker tries again soon, and a conversation is soon too long.
SOON = {"BREAKER_OPEN_SECONDS": "1", "MAX_MESSAGES_IN_MEMORY": "6", "RECENT_CONTEXT_WINDOW": "2", "SWEEP_INTERVAL": "1"}

LEGEND = re.compile(r"{{(\w+)}}")

COMPARISON = re.compile(r"\s*(?:==|[<>]=?)\s*[\d.* ]+$")


def queries() -> Iterator[tuple[str, str, set[str]]]:
    """Every query of every panel, with its panel's title and the labels that its legend names."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", "1m").replace("$user", "user 0")
                yield f"{file.stem}: {panel['title']}", expression, set(LEGEND.findall(target["legendFormat"]))


def sides(query: str) -> list[str]:
    """What an alert's expression compares, without the comparisons."""
    parts = [part.strip() for part in re.split(" or | unless ", query)]
    return [COMPARISON.sub("", part) for part in parts if not part.startswith("absent")]


@pytest.fixture
def agents() -> Iterator[str]:
    """This process's own metrics, served as agent code serves them. Their URL."""
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1")
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join(20)


def ask(client: Client, user: str) -> bool:
    """Ask once; whether that was refused."""
    try:
        client.submit("Let me in.", user_id=user, conversation_id="refused", agent="wait")
    except NotAdmitted:
        return True
    return False


def be_refused(fleet: Fleet) -> None:
    """By the user's rate, and for the full queue."""
    for user, limit in (("user 0", {"user_rate": "1/hour"}), ("too late", {"queue_limit": 1})):
        with closing(Client(fleet.settings.model_copy(update=limit))) as client:
            eventually(partial(ask, client, user), PATIENCE, what=f"{user} is refused")


def open_a_breaker(fleet: Fleet, simulator: Simulator) -> None:
    """Ask a dead provider until it is not called any more; then it is well again, and answers those who waited."""
    simulator.script(rates=(Fault(kind="503", rate=1),))
    handles = fleet.ask_many(20, agent="chat", user="put off", max_attempts=10)
    waiting = "SELECT count(*) FROM requests WHERE status = 'queued' AND reason = 'breaker_open'"
    eventually(lambda: fleet.scalar(waiting), PATIENCE, what="some wait for the breaker")
    simulator.script()
    for handle in handles:
        handle.result(PATIENCE)


def talk(fleet: Fleet) -> None:
    """A conversation that is too long for one look."""
    for _ in range(5):
        fleet.ask(user_id="user 0", conversation_id="long").result(PATIENCE)


def load(fleet: Fleet, simulator: Simulator) -> None:
    """All that a fleet has to tell of, but for slow answers and servers that are away."""
    open_a_breaker(fleet, simulator)
    fleet.client.redis.lpush("batch", "no message")
    simulator.script(seed=1, latency=Fixed(seconds=0.2), rates=(Fault(kind="503", rate=0.2),))
    handles = [fleet.ask(agent="chat", user_id=f"user {n % 4}", conversation_id=str(n)) for n in range(60)]
    handles += fleet.ask_many(2, agent="raises")
    be_refused(fleet)
    talk(fleet)
    for handle in fleet.ask_many(2, agent="wait", seconds=60, user="gives up"):
        fleet.worker_of(handle)
        handle.cancel()
    for handle in handles:
        settle(handle)


def assert_every_query_finds_something(server: Prometheus) -> None:
    """Of every panel, with the labels by which its legend names the series, and of every alert."""
    asked = list(queries())
    asked += [(alert.name, side, set()) for alert in server.alerts().values() for side in sides(alert.query)]
    found = [(title, query, labels, server.query(query)) for title, query, labels in asked if not QUIET.search(query)]
    assert not [(title, query) for title, query, _, series in found if not series]
    unnamed = [(title, labels) for title, _, labels, series in found if any(labels - set(one) for one, _ in series)]
    assert not unnamed


@pytest.fixture
def beat(fleet: Fleet, tmp_path: Path) -> Iterator[None]:
    """The fleet's clock."""
    command = [sys.executable, "-m", "celery", "-A", "pipeline", "beat", "-s", str(tmp_path / "schedule"), "--pidfile="]
    running = process.spawn(Launch(command, tmp_path / "beat.log", fleet.environment))
    yield
    running.terminate()
    running.wait(30)


@prometheus.needs_prometheus
@pytest.mark.usefixtures("beat")
def test_every_panel_and_alert_finds_what_it_asks_for_and_slow_load_fires_high_latency(
    fleet: Fleet, simulator: Simulator, exporter: ExporterProcess, agents: str, tmp_path: Path
) -> None:
    fleet.environment |= {f"CITE_AGENT_{name}": value for name, value in SOON.items()}
    workers = fleet.start(2, "-Q", "urgent,normal,batch,maintenance,archive")
    targets = {
        "pipeline-exporter": [exporter.start()],
        "pipeline-workers": [url_of(fleet, one) for one in workers],
        "agents": [agents],
    }
    with Prometheus(tmp_path, targets) as server:
        began, slow = time.monotonic(), fleet.ask_many(12, agent="gate", user="slow")
        load(fleet, simulator)
        assert server.alerts()["HighLatency"].state == "inactive"
        time.sleep(max(0, began + SLOW - time.monotonic()))
        fleet.open_gate()
        fleet.assert_answered(slow)
        eventually(lambda: server.alerts()["HighLatency"].state == "firing", PATIENCE, what="the alert fires")

        for series in CAUSED:
            eventually(lambda s=series: any(v for _, v in server.query(s)), PATIENCE, what=series)  # type: ignore[misc]
        assert_every_query_finds_something(server)
        assert [value for _, value in server.query("cite_agent_beats")] == [1]
        others = server.query(f'cite_agent_requests_total{{user_id="{OTHER}",job="pipeline-workers"}}')
        assert not others, "so few keep their names"
        firing = {alert.name for alert in server.alerts().values() if alert.state == "firing"}
        bad = {"HighLatency", "HighErrorRate", "RetriesFailing", "DeadLetters", "CircuitBreakerOpen"}
        assert firing <= bad, "as the load is bad"
    for url in (urls[0] for urls in targets.values()):
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=_text(url), capture_output=True, check=False, text=True, timeout=60
        )
        assert checked.returncode == 0, checked.stderr


def test_dashboards_ask_for_what_is_served(fleet: Fleet, exporter: ExporterProcess) -> None:
    known = set(re.findall(r"^# TYPE (\w+)", _text(exporter.start()), re.MULTILINE))
    known |= {f"cite_agent_{name}" for name in ("circuit_breaker_state", "circuit_breaker_model_state")}
    known |= {f"cite_agent_{name}" for name in ("sessions_due", "archive_lag_seconds", "beat_last_timestamp_seconds")}
    asked = {name for _, query, _ in queries() for name in re.findall(r"cite_agent_\w+", query)}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} <= known


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:
        return str(response.read().decode())
