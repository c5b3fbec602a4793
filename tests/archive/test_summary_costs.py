"""Summaries by a provider are paid for, out of the day's budget; and one that nobody can make holds up no archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from pipeline.archive.archiver import Archiver
from pipeline.archive.assembly import archiver
from pipeline.providers.registry import Providers
from pipeline.providers.simulator import Simulator
from pipeline.settings import ProviderSettings, Settings
from pipeline.store import spending
from pipeline.worker.routes import routed
from tests.archive.library import Library
from tests.providers.routed import always
from tests.servers import Broker, eventually
from tests.store.desk import count

#: Money per million tokens, in and out.
PRICES = {"input_price": 1000.0, "output_price": 1000.0}

Asking = Callable[..., Archiver]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as one:
        yield one


@pytest.fixture
def asking(library: Library, broker: Broker, simulator: Simulator, tmp_path: Path) -> Iterator[Asking]:
    """`asking(provider, **settings)` is an archiver as workers have it, whose summaries `mistral` makes."""
    with ExitStack() as opened:

        def make(provider: dict[str, Any], **changes: Any) -> Archiver:
            settings = Settings(
                broker_url=broker.url,
                providers=[ProviderSettings(name="mistral", base_url=simulator.url, model="m", **provider)],
                cold_storage_url=str(tmp_path),
                max_messages_in_memory=4,
                recent_context_window=2,
                **changes,
            )
            providers = opened.enter_context(closing(Providers(settings)))
            router = routed(providers, settings, library.database)
            assert router is not None
            opened.enter_context(closing(router))
            return opened.enter_context(closing(archiver(settings, library.database, router)))

        yield make


def counted(name: str, provider: str = "mistral", **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"provider": provider, **labels}) or 0.0


def summaries(library: Library) -> list[str]:
    """Who made them, by session."""
    return [by for (by,) in library.sql.execute("SELECT by FROM summaries ORDER BY session_id")]


def test_a_summary_is_in_the_days_spending_and_in_what_is_counted_of_its_provider(
    asking: Asking, library: Library
) -> None:
    before = counted("cite_agent_provider_cost_total", used="true")
    called = counted("cite_agent_provider_requests_total", status="success")
    sessions = [library.converse(4, conversation=name) for name in ("a", "b")]
    asking(PRICES).archive(sessions)
    assert summaries(library) == ["mistral", "mistral"]
    spent = spending.today(library.database)["mistral"]
    assert spent > 0
    assert counted("cite_agent_provider_cost_total", used="true") - before == pytest.approx(spent)
    assert counted("cite_agent_provider_requests_total", status="success") - called == 2
    assert count(library.sql, "calls") == 0


def test_what_was_paid_for_without_coming_to_a_summary_is_counted_too(
    asking: Asking, library: Library, simulator: Simulator
) -> None:
    before = counted("cite_agent_provider_cost_total", used="false")
    simulator.script("ok", "500")  # two prompts are needed, and the second one fails
    session = library.fill(30, size=2_000)
    asking(PRICES).archive([session])
    assert summaries(library) == ["extractive"]
    spent = spending.today(library.database)["mistral"]
    assert spent > 0
    assert counted("cite_agent_provider_cost_total", used="false") - before == pytest.approx(spent)


def test_when_the_days_budget_is_spent_the_extractive_one_serves(
    asking: Asking, library: Library, simulator: Simulator
) -> None:
    one = asking({**PRICES, "daily_budget": 0.001})
    one.archive([library.converse(4, conversation="a")])
    assert simulator.counts.arrived == 1
    assert spending.today(library.database)["mistral"] > 0.001

    def refused() -> bool:
        """What was spent is looked up once a second."""
        library.sql.execute("DELETE FROM summaries")
        asked = simulator.counts.arrived
        assert one.archive([library.converse(4, conversation=f"b{asked}")]).failed == 0
        return summaries(library) == ["extractive"] and simulator.counts.arrived == asked

    eventually(refused, 30)


def test_while_its_breaker_is_open_the_extractive_one_serves_and_everything_is_archived(
    asking: Asking, library: Library, simulator: Simulator
) -> None:
    def put_off() -> float:
        """Those of which nobody was asked."""
        return counted("cite_agent_summarizing_faults_total", "router", reason="breaker_open")

    before = put_off()
    simulator.script(**always("503"))
    one = asking(PRICES, breaker_min_calls=2)
    sessions = [library.converse(4, conversation=f"c{number}") for number in range(4)]
    for session in sessions:
        report = one.archive([session])
        assert (report.archives, report.messages, report.failed) == (1, 6, 0)
    eventually(lambda: one.archive([library.converse(4, conversation="more")]) and put_off() > before, 30)
    assert set(summaries(library)) == {"extractive"}
