"""What is counted by those who did it is what the ledger holds: to the last one, whoever was restarted meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline import Handle, PipelineError
from pipeline.providers.simulator import Fault, Fixed, Simulator
from tests.fleet import PATIENCE, Fleet, Worker
from tests.metrics.scraping import ExporterProcess, Samples, Scraper, by_label, total, url_of
from tests.servers import eventually

#: Outcome in the ledger -> the label that counts it.
LABELS = {"succeeded": "success", "failed": "failure", "cancelled": "cancelled", "expired": "expired"}

UNFINISHED = "SELECT count(*) FROM requests WHERE finished_at IS NULL"


@contextmanager
def scraping(scraper: Scraper, urls: list[str]) -> Iterator[None]:
    """Scrape all the time, as soon as the last round is over, while the block runs."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(0.1):
            scraper.scrape(*urls)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(60)


def load(fleet: Fleet, user: str) -> list[Handle]:
    """Requests that come to every end: answered, failed, cancelled while they wait or run, expired."""
    handles = [fleet.ask(agent="chat", user_id=f"{user} {n % 6}", conversation_id=str(n)) for n in range(60)]
    handles += fleet.ask_many(3, agent="raises", user=f"{user} fails")
    handles += fleet.ask_many(2, agent="wait", seconds=60, deadline=2, user=f"{user} is late")
    cancelled = fleet.ask_many(3, agent="wait", seconds=60, user=f"{user} gives up")
    cancelled += [fleet.ask(agent="wait", seconds=60, user_id=f"{user} gives up 0")]
    for handle in cancelled:
        assert handle.cancel()
    return handles


def refusals(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    """What another process saw that asked too much; and what it served, if it was asked."""
    command = [sys.executable, "-m", "tests.metrics.refused", *arguments]
    done = subprocess.run(command, env=fleet.environment, check=True, timeout=120, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_requests_are_counted_exactly_through_retries_cancellations_rejections_and_warm_restarts(
    fleet: Fleet, simulator: Simulator, exporter: ExporterProcess
) -> None:
    rates = (Fault(kind="503", rate=0.3), Fault(kind="429", rate=0.1))
    simulator.script(seed=1, latency=Fixed(seconds=0.05), rates=rates)
    fleet.environment["CITE_AGENT_BREAKER_MIN_CALLS"] = "1000"  # an open breaker would put all of it off
    urls, scraper = [exporter.start()], Scraper()
    workers = fleet.start(2)
    urls += [url_of(fleet, worker) for worker in workers]
    handles: list[Handle] = []
    with scraping(scraper, urls):
        for n in range(2):
            handles += load(fleet, f"user {n}")
            restart(fleet, workers[n], urls)
        refused = [refusals(fleet, "--scraped"), refusals(fleet)]
        by_another_process = fleet.ask(agent="wait", seconds=60, user_id="cli")
        command = [sys.executable, "-m", "pipeline", "requests", "cancel", by_another_process.id]
        subprocess.run(command, env=fleet.environment, check=True, timeout=60)
        for handle in handles:
            settle(handle)
        eventually(lambda: not fleet.scalar(UNFINISHED), PATIENCE, what="those of the other process have ended, too")
    exporter.stop()
    urls[0] = exporter.start()
    for worker in fleet.workers:
        if worker.poll() is None:
            stop(worker)
    fleet.client.close()
    scraper.scrape(urls[0])
    scraper.remember("agent code", refused[0]["served"])

    assert_as_in_the_ledger(scraper.samples, fleet)
    assert_refusals(scraper.samples, refused)


def assert_as_in_the_ledger(samples: Samples, fleet: Fleet) -> None:
    """Requests by their outcomes, retries, and calls."""
    ledger = dict(fleet.rows("SELECT status, count(*) FROM requests GROUP BY status"))
    assert set(ledger) == set(LABELS), "the load comes to every end"
    counted = by_label(samples, "cite_agent_requests_total", "status")
    assert counted == {LABELS[status]: count for status, count in ledger.items()}
    assert total(samples, "cite_agent_requests_duration_seconds_count") == sum(ledger.values())
    retried = fleet.scalar("SELECT count(*) FROM attempts WHERE number > 1 AND outcome <> 'cancelled'")
    assert retried > 10
    assert total(samples, "cite_agent_retry_attempts_total") == retried
    assert by_label(samples, "cite_agent_provider_requests_total", "status") == {
        "success": fleet.scalar("SELECT count(*) FROM calls WHERE reason IS NULL"),
        "failure": fleet.scalar("SELECT count(*) FROM calls WHERE reason IS NOT NULL"),
    }


def assert_refusals(samples: Samples, refused: list[dict[str, Any]]) -> None:
    """Those that their callers saw, whoever served them, and no others."""
    saw = sum((Counter(one["saw"]) for one in refused), Counter())
    assert set(saw) == {"RateLimited", "QueueFull"}
    assert total(samples, "cite_agent_queue_rejections_total") == saw["QueueFull"]
    by_user = sum((Counter(one["by_user"]) for one in refused), Counter())
    assert by_label(samples, "cite_agent_rate_limit_hits_total", "user_id") == by_user
    assert by_user.total() == saw["RateLimited"]


def test_a_killed_worker_takes_along_no_more_than_it_counted_since_its_last_scrape(
    fleet: Fleet, exporter: ExporterProcess
) -> None:
    [worker] = fleet.start(1)
    url, scraper = url_of(fleet, worker), Scraper()
    fleet.assert_answered(fleet.ask_many(8, user="scraped"))

    def counted() -> float:
        scraper.scrape(url)
        return total(scraper.samples, "cite_agent_requests_total")

    eventually(lambda: counted() == 8, what="what is answered is counted, a moment later")
    fleet.assert_answered(fleet.ask_many(3, user="lost"))
    fleet.kill(worker)
    scraper.scrape(url, exporter.start())
    assert total(scraper.samples, "cite_agent_requests_total") == 8
    assert total(scraper.samples, "cite_agent_ledger_requests", status="succeeded") == 11, "Postgres knows them all"


def restart(fleet: Fleet, worker: Worker, urls: list[str]) -> None:
    """Stop it in order, while it is busy, and start another."""
    eventually(lambda: fleet.scalar("SELECT count(*) FROM requests WHERE finished_at IS NOT NULL") > 0, PATIENCE)
    stop(worker)
    [successor] = fleet.start(1)
    urls.append(url_of(fleet, successor))


def stop(worker: Worker) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def settle(handle: Handle) -> None:
    """Wait until it has ended, however."""
    try:
        handle.result(PATIENCE)
    except PipelineError:
        assert handle.status() in LABELS
