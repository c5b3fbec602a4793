"""What a user wrote and what was answered is in Postgres, and in nothing else that is kept or shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.request import urlopen

import pytest
import redis
from prometheus_client import generate_latest

from pipeline import RequestFailed
from pipeline.exporter import Exporter
from pipeline.local.roster import free_port
from pipeline.providers.simulator import Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.faults.wiretap import Wiretap
from tests.fleet import PATIENCE, Fleet
from tests.observe.collector import Collector
from tests.servers import Broker, eventually

MARKER = "the-words-of-the-user"
KEY = "the-key-of-the-provider"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.url)
        yield one


@pytest.fixture
def fleet(database: str, broker: Broker, simulator: Simulator, collector: Collector, make_fleet: MakeFleet) -> Fleet:
    """One that tells all it may, and has a key."""
    del collector  # its environment names it
    providers = [{**one, "api_key": KEY} for one in provider_at(simulator.url)]
    port = free_port()
    return make_fleet(database, broker.url, providers=providers, log_format="json", tracing=True, metrics_port=port)


def served(fleet: Fleet) -> str:
    """The metrics of the worker, of the exporter, and of this process, which is agent code's."""
    with urlopen(f"http://127.0.0.1:{fleet.settings.metrics_port}/metrics", timeout=30) as reply:
        of_worker = reply.read().decode()
    with closing(Exporter(fleet.settings)) as exporter:
        of_whole = str(list(exporter.look(seen=False)))
    return "\n".join((of_worker, of_whole, generate_latest().decode()))


def test_prompts_answers_and_keys_are_in_no_log_no_event_no_trace_no_metric_and_nothing_that_the_broker_holds(
    fleet: Fleet, broker: Broker, simulator: Simulator, wiretap: Wiretap, collector: Collector
) -> None:
    queued = fleet.ask(MARKER, agent="chat")
    simulator.script("503", tokens_per_second=50)
    [worker] = fleet.start(1)
    assert MARKER in "".join(queued.stream(PATIENCE))  # the simulator quotes it
    with pytest.raises(RequestFailed):
        fleet.ask(MARKER, agent="raises").result(PATIENCE)
    simulator.script("400")
    with pytest.raises(RequestFailed):
        fleet.ask(MARKER, agent="chat").result(PATIENCE)
    killed = fleet.ask(MARKER, agent="gate")
    fleet.worker_of(killed)
    fleet.kill(worker)
    fleet.open_gate()
    fleet.start(1)
    assert MARKER in killed.result(PATIENCE).text
    metrics = served(fleet)
    assert 'cite_agent_requests_total{status="success",user_id="ada"}' in metrics
    assert "cite_agent_queue_depth" in metrics
    eventually(lambda: wiretap.events(killed.id, "task-succeeded"), PATIENCE, what="events came")
    for worker in fleet.workers[1:]:
        worker.terminate()
        worker.wait(60)
    eventually(lambda: collector.spans, PATIENCE, what="spans came")

    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        client.execute_command("WAITAOF", 1, 0, 10_000)
        assert client.xlen(f"cite_agent:stream:{queued.id}") > 0
    written = b"".join(file.read_bytes() for file in broker.data.rglob("*") if file.is_file())
    assert queued.id.encode() in written
    assert wiretap.heard
    for private in (MARKER, KEY):
        assert private.encode() not in written
        assert private not in metrics
        assert not any(private.encode() in heard for heard in (*wiretap.heard, *collector.bodies))
        assert not any(private in str(event) for event in wiretap.all_events)
        assert not any(private in fleet.log(one) for one in fleet.workers)
    assert fleet.scalar("SELECT count(*) FROM messages WHERE content LIKE %s", f"%{MARKER}%") == 4
