"""What is left to others is what nobody has scraped: no more, no less."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from pipeline.errors import ConfigurationError
from pipeline.estate import Estate, Totals
from pipeline.serving import Server
from pipeline.store.database import Database
from pipeline.store.measures import estates, users
from tests.metrics.conftest import MakeKnown
from tests.metrics.scraping import fetch, total


class Process:
    """One that counts requests by user, and serves them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = prometheus_client.Counter("requests_total", "some", ["user_id"], registry=self.registry)
        self.seconds = prometheus_client.Histogram("seconds", "some", buckets=(1, 2), registry=self.registry)
        self.busy = prometheus_client.Gauge("busy", "some", registry=self.registry)
        self.estate = Estate(self.registry.collect)
        self.server = Server(lambda seen: self.estate.look(seen=seen), host="127.0.0.1", port=0)
        self.server.start()

    def count(self, user: str, times: int) -> None:
        self.requests.labels(user).inc(times)
        self.seconds.observe(times)
        self.busy.inc()

    def counted(self, **labels: str) -> float:
        return total(fetch(self.server.url, seen=False), "requests_total", **labels)


@pytest.fixture
def one() -> Iterator[Process]:
    process = Process()
    yield process
    process.server.stop()


@pytest.fixture
def other() -> Iterator[Process]:
    process = Process()
    yield process
    process.server.stop()


def requests(totals: Totals) -> dict[str, float]:
    return {dict(labels)["user_id"]: value for (name, labels), value in totals.items() if name == "requests_total"}


def test_only_what_a_scraper_has_not_seen_is_left(one: Process, other: Process) -> None:
    one.count("ada", 3)
    with urllib.request.urlopen(one.server.url, timeout=10):
        assert requests(one.estate.settle()) == {"ada": 3}, "somebody who looks is no scraper"
    one.count("ada", 2)
    fetch(one.server.url)
    one.count("ada", 1)
    one.count("bob", 1)
    left = one.estate.settle()
    assert requests(left) == {"ada": 1, "bob": 1}
    assert ("busy", ()) not in left, "a gauge says what is, not what was"
    assert requests(one.estate.settle()) == {}, "it is left once"

    other.count("ada", 10)
    other.estate.adopt(left)
    assert (other.counted(user_id="ada"), other.counted(user_id="bob")) == (11, 1)
    served = fetch(other.server.url)
    assert total(served, "seconds_count") == 3
    assert total(served, "seconds_bucket", le="1.0") == 2
    assert total(served, "seconds_sum") == 12
    assert other.estate.settle() == {}


def test_what_is_adopted_and_not_scraped_is_left_again(one: Process, other: Process) -> None:
    one.count("ada", 3)
    other.estate.adopt(one.estate.settle())
    assert requests(other.estate.settle()) == {"ada": 3}


def test_what_was_left_is_served_by_whoever_adopts_it_alone_though_its_process_goes_on(
    one: Process, other: Process
) -> None:
    one.count("ada", 3)
    other.estate.adopt(one.estate.settle())
    one.count("ada", 2)
    assert (one.counted(), other.counted()) == (2, 3)
    served = fetch(one.server.url)
    assert (total(served, "seconds_count"), total(served, "seconds_sum"), total(served, "busy")) == (1, 2, 2)
    one.count("ada", 1)
    left = one.estate.settle()
    assert requests(left) == {"ada": 1}
    other.estate.adopt(left)
    assert (one.counted(), other.counted()) == (2, 4), "what was scraped never falls"
    one.estate.relabel("user_id", "ada", "other", lambda: one.requests.remove("ada"))
    assert one.counted(user_id="other") == one.counted() == 2


def test_what_could_not_be_left_is_still_there(one: Process) -> None:
    one.count("ada", 3)
    one.estate.unsettle(one.estate.settle())
    assert one.counted() == 3
    assert requests(one.estate.settle()) == {"ada": 3}


def test_a_forgotten_user_is_served_among_the_others_and_counted_once(one: Process) -> None:
    one.count("ada", 3)
    one.count("other", 1)
    fetch(one.server.url)
    one.count("ada", 2)
    one.estate.relabel("user_id", "ada", "other", lambda: one.requests.remove("ada"))
    assert one.counted(user_id="ada") == 0
    assert one.counted() == one.counted(user_id="other") == 6
    assert requests(one.estate.settle()) == {"other": 2}


def test_what_was_adopted_of_a_forgotten_user_and_what_was_counted_here_are_added_up(one: Process) -> None:
    one.estate.adopt({("requests_total", (("user_id", "ada"),)): 7})
    one.count("ada", 3)
    one.estate.relabel("user_id", "ada", "other", lambda: one.requests.remove("ada"))
    assert one.estate.values("user_id") == {"other"}
    assert one.counted() == one.counted(user_id="other") == 10
    assert requests(one.estate.settle()) == {"other": 10}


def test_what_is_left_of_somebody_who_was_erased_meanwhile_is_left_among_the_others(
    one: Process, database: str, make_known: MakeKnown
) -> None:
    make_known("ada", "bob")
    store = Database(database, size=2)
    users.claim(store, ["ada", "bob"], most=10)
    for user, times in (("ada", 3), ("bob", 2), ("other", 1)):
        one.count(user, times)
    users.free(store, "ada")
    estates.leave(store, one.estate.settle())
    assert requests(estates.adopt(store)) == {"other": 4, "bob": 2}
    store.close()


def test_an_estate_is_adopted_once(one: Process, database: str, make_known: MakeKnown) -> None:
    make_known("ada")
    store = Database(database, size=2)
    users.claim(store, ["ada"], most=10)
    one.count("ada", 3)
    estates.leave(store, one.estate.settle())
    estates.leave(store, {})
    assert requests(estates.adopt(store)) == {"ada": 3}
    assert estates.adopt(store) == {}
    store.close()


def test_a_taken_port_is_refused_by_name(one: Process) -> None:
    with pytest.raises(ConfigurationError, match=r"CITE_AGENT_METRICS_PORT: .* give each process a port of its own"):
        Server(lambda _: (), host="127.0.0.1", port=one.server.port)


def test_there_is_nothing_else_to_see(one: Process) -> None:
    with pytest.raises(OSError, match="404"):
        urllib.request.urlopen(one.server.url.removesuffix("/metrics"), timeout=10)


def test_agent_code_serves_what_its_own_process_counts_through_the_default_registry() -> None:
    program = """
from prometheus_client import generate_latest
from pipeline import signals
signals.rate_limited("ada")
print(generate_latest().decode())
assert not signals.estate.settle()
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert 'cite_agent_rate_limit_hits_total{user_id="other"} 1.0' in said
    memory = re.search(r"^cite_agent_memory_usage_bytes (\S+)", said, re.MULTILINE)
    assert memory is not None
    assert float(memory.group(1)) > 10e6


def test_agent_code_that_was_scraped_leaves_what_it_counted_since_and_goes_on_serving_what_it_was_scraped_with(
    database: str,
) -> None:
    program = """
import sys
from prometheus_client import generate_latest
from pipeline import Client, signals
from pipeline.settings import Settings
client = Client(Settings(database_url=sys.argv[1], broker_url="redis://127.0.0.1:1"))
signals.queue_full()
generate_latest()
signals.queue_full()
signals.queue_full()
client.close()
print(generate_latest().decode())
"""
    command = [sys.executable, "-c", program, database]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "cite_agent_queue_rejections_total 1.0" in said
    store = Database(database, size=1)
    assert estates.adopt(store)[("cite_agent_queue_rejections_total", ())] == 2
    store.close()
