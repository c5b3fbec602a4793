"""A request's trace is whole: from `submit` over the queue, every attempt and call, to the commit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import redis
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from pipeline import RequestFailed
from pipeline.local.roster import free_port
from pipeline.providers.simulator import Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.observe.collector import Collector, attributes
from tests.servers import Broker, eventually

MARKER = "the-words-of-the-user"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Where this process and the workers that it starts send their spans, a few times a second."""
    with Collector() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield one


@pytest.fixture
def traced(collector: Collector, database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet) -> Fleet:
    """A fleet that traces, without workers yet."""
    return make_fleet(database, broker.url, providers=provider_at(simulator.url), tracing=True)


def test_a_trace_goes_from_submit_over_a_retry_to_the_commit_and_says_nothing_of_what_was_said(
    traced: Fleet, collector: Collector, broker: Broker, simulator: Simulator
) -> None:
    simulator.script("503")
    handle = traced.ask(MARKER, agent="chat")
    context = traced.scalar("SELECT traceparent FROM requests WHERE id = %s", handle.id)
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        message = json.loads(client.lrange("normal", 0, 0)[0])
    assert message["headers"]["traceparent"] == context

    traced.start(1)
    assert MARKER in handle.result(PATIENCE).text
    trace = eventually(lambda: collector.trace_of(handle.id), PATIENCE, what="its submission was sent")
    expected = {"submit": 1, "queue": 2, "attempt 1": 1, "attempt 2": 1, "chat simulated": 2, "commit": 2}
    eventually(lambda: Counter(one.name for one in collector.of(trace)) == expected, PATIENCE, what="the whole trace")

    spans = collector.of(trace)
    named = {one.name: one for one in spans}
    submit, first, second = named["submit"], named["attempt 1"], named["attempt 2"]
    assert context.startswith(f"00-{trace.hex()}-{submit.span_id.hex()}-")
    assert {one.parent_span_id for one in spans if one.name.startswith(("attempt", "queue"))} == {submit.span_id}
    for name in ("chat simulated", "commit"):
        assert [one.parent_span_id for one in spans if one.name == name] == [first.span_id, second.span_id]
    assert [link.span_id for link in second.links] == [first.span_id]
    assert not first.links
    assert attributes(first)["error.type"] == "http_503"
    assert attributes(first)["pipeline.outcome"] == "retrying"
    assert attributes(second)["pipeline.outcome"] == "succeeded"
    assert second.start_time_unix_nano >= first.end_time_unix_nano

    with pytest.raises(RequestFailed):
        traced.ask(MARKER, agent="raises").result(PATIENCE)
    eventually(lambda: any(attributes(one).get("error.type") == "agent_error" for one in collector.spans), PATIENCE)
    assert not any(MARKER.encode() in body for body in collector.bodies)


def test_the_attempt_after_a_killed_worker_belongs_to_the_same_trace_and_links_to_the_lost_one(
    traced: Fleet, collector: Collector
) -> None:
    [worker] = traced.start(1)
    handle = traced.ask(agent="stuck_at_first")
    traced.worker_of(handle)
    traced.kill(worker)
    [other] = traced.start(1)
    handle.result(PATIENCE)
    trace = eventually(lambda: collector.trace_of(handle.id), PATIENCE, what="its submission was sent")
    found = eventually(
        lambda: [one for one in collector.of(trace) if one.name == "attempt 2"], PATIENCE, what="its second attempt"
    )
    from pipeline.tracing.otel import attempt_id

    ((id_,),) = traced.rows("SELECT id FROM requests WHERE id = %s", handle.id)
    assert [link.span_id for link in found[0].links] == [attempt_id(id_, 1).to_bytes(8, "big")]
    claimed = next(line for line in traced.log(other).splitlines() if "request_claimed" in line)
    assert trace.hex() in claimed


def test_where_nobody_takes_the_spans_requests_are_answered_all_the_same(
    database: str, broker: Broker, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    fleet = make_fleet(database, broker.url, tracing=True)
    [worker] = fleet.start(1)
    fleet.assert_answered([fleet.ask()])
    worker.terminate()
    assert worker.wait(fleet.settings.stop_timeout + 10) == 0


def test_without_tracing_nothing_of_opentelemetry_is_imported(database: str, broker: Broker, tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline import Client, Settings; from pipeline.worker.runtime import Runtime\n"
        f"settings = Settings(database_url={database!r}, broker_url={broker.url!r})\n"
        "Client(settings); Runtime(settings, 'w')\n"
        # redis-py imports the SDK's metrics where they are installed
        "print(*(name for name in sys.modules if name.startswith(('opentelemetry.exporter', 'pipeline.tracing.'))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_tracing_without_its_packages_names_the_setting_and_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from pipeline import tracing; from pipeline.settings import Settings\n"
        "tracing.from_settings(Settings(tracing=True))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "CITE_AGENT_TRACING: opentelemetry is not installed; install agent-pipeline[otel]" in ran.stderr


def test_requests_that_are_submitted_together_have_a_span_each_within_the_callers_trace(traced: Fleet) -> None:
    caller = SpanContext(0xA0, 0xB0, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    requests = [{"text": "x", "user_id": "ada", "conversation_id": str(number)} for number in range(3)]
    with use_span(NonRecordingSpan(caller)):
        traced.client.submit_many(requests)
    contexts = [context.split("-") for (context,) in traced.rows("SELECT traceparent FROM requests")]
    assert {trace_id for _, trace_id, _, _ in contexts} == {f"{0xA0:032x}"}
    assert len({span_id for _, _, span_id, _ in contexts} - {f"{0xB0:016x}"}) == 3
    traced.may_leave_unfinished = True


def test_a_measurement_points_to_the_trace_it_was_taken_in(
    collector: Collector, database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    port = free_port()
    fleet = make_fleet(database, broker.url, tracing=True, metrics_port=port)
    fleet.start(1)
    handle = fleet.ask()
    handle.result(PATIENCE)
    trace = eventually(lambda: collector.trace_of(handle.id), PATIENCE, what="its submission was sent")
    wanted = Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"})

    def measured() -> list[str]:
        with urlopen(wanted, timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return [line for line in lines if line.startswith("cite_agent_requests_duration_seconds_bucket")]

    pointer = f'# {{trace_id="{trace.hex()}"}}'
    eventually(lambda: any(pointer in line for line in measured()), PATIENCE, what="the exemplar is served")
