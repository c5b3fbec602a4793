"""What processes count is read where they serve it; what is not served was not measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from stress.counted import counted

NAME = "cite_agent_circuit_breaker_trips_total"


@pytest.fixture
def served() -> Iterator[tuple[str, Counter]]:
    """The address of a process's metrics, and a counter that it serves."""
    registry = CollectorRegistry()
    counter = Counter(NAME, "trips", ["provider"], registry=registry)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics", counter
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_counter_is_summed_over_labels_and_processes(served: tuple[str, Counter]) -> None:
    url, counter = served
    counter.labels("one").inc(2)
    counter.labels("two").inc(3)
    assert counted([url], NAME) == 5
    assert counted([url, url], NAME) == 10


def test_one_that_is_served_and_has_not_counted_yet_is_0(served: tuple[str, Counter]) -> None:
    url, _ = served
    assert counted([url], NAME) == 0


def test_what_no_process_serves_or_one_does_not_answer_for_was_not_measured(served: tuple[str, Counter]) -> None:
    url, counter = served
    counter.labels("one").inc()
    assert counted([], NAME) is None
    assert counted([url], "cite_agent_other_total") is None
    assert counted([url, "http://127.0.0.1:9/metrics"], NAME) is None
