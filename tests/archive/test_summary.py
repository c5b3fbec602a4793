"""Summaries: bounded, rolling, the same for the same messages; and a provider that fails stops nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive import by_provider
from pipeline.archive.assembly import archiver
from pipeline.archive.by_provider import ByProvider
from pipeline.archive.summary import LONGEST, Extractive, Rolling, estimated_tokens
from pipeline.metrics import SUMMARY_FAULTS
from pipeline.providers.contract import CallRequest, Completion
from pipeline.providers.openai_compatible import OpenAICompatible
from pipeline.providers.simulator import Simulator
from pipeline.schemas import Call, Message
from pipeline.settings import ProviderSettings, Settings
from pipeline.store.archives import Summary
from tests.archive.library import Library
from tests.providers.routed import always, routed, settled
from tests.servers import Broker


def said(count: int, *, first: int = 1, length: int = 30) -> list[Message]:
    return [
        Message("user" if number % 2 else "assistant", f"{number} " + "x" * length, number=number)
        for number in range(first, first + count)
    ]


# -- extractive -------------------------------------------------------------------------------------------------------


def test_an_extractive_summary_quotes_how_each_message_begins() -> None:
    messages = [
        Message("user", "What did\nI cite? I forgot."),
        Message("assistant", "", tool_calls=({"id": "1"},)),
        Message("tool", "a long result"),
        Message("assistant", "Knuth. And others."),
    ]
    assert Extractive().sum_up(None, messages) == ("user: What did I cite? I forgot.\nassistant: Knuth.", "extractive")


def test_it_is_the_same_for_the_same_messages_and_rolls_on() -> None:
    once, _ = Extractive().sum_up(None, said(8))
    first, _ = Extractive().sum_up(None, said(4))
    assert Extractive().sum_up(first, said(4, first=5)) == (once, "extractive")


def test_it_stays_bounded_and_keeps_how_all_began_and_what_was_last() -> None:
    text = ""
    for first in range(1, 3000, 100):
        text, _ = Extractive().sum_up(text or None, said(100, first=first, length=300))
        assert len(text) <= LONGEST
    lines = text.splitlines()
    assert lines[0].startswith("user: 1 x")
    assert lines[-1].startswith("assistant: 3000 x")
    assert lines.count("…") == 1


def test_a_summary_knows_its_range_and_tells_of_nothing_twice() -> None:
    rolling = Rolling(Extractive())
    first = rolling.next(None, said(4))
    assert first is not None
    assert (first.first_number, first.through_number, first.tokens) == (1, 4, estimated_tokens(first.text))
    assert rolling.next(first, said(3)) is None
    second = rolling.next(first, said(6))
    assert second == Summary(second.text if second else "", 1, 6, "extractive", second.tokens if second else 0)
    assert second.text.count("user: 1 ") == 1


# -- by a provider ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as one:
        yield one


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.script()
    running.reset_counts()
    return running


class Heard(OpenAICompatible):
    """The real client, which remembers what it was asked."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: list[CallRequest] = []

    def call(self, request: CallRequest, **rest: Any) -> Completion:
        self.asked.append(request)
        return super().call(request, **rest)


@pytest.fixture
def provider(simulator: Simulator) -> Iterator[Heard]:
    one = Heard(ProviderSettings(name="mistral", base_url=simulator.url, model="m"), Settings())
    yield one
    one.close()


def ignored(calls: Sequence[Call]) -> None:
    """Whoever pays for them."""


def test_a_provider_is_asked_with_the_old_summary_and_the_new_messages(provider: Heard) -> None:
    text, by = ByProvider(provider, 20, ignored).sum_up("what was before", said(2))
    assert by == "mistral"
    assert text
    (asked,) = provider.asked
    words = asked.messages[-1].content
    assert "Summary so far:\nwhat was before\n" in words
    assert "user: 1 x" in words
    assert "assistant: 2 x" in words
    assert asked.options["max_tokens"] == by_provider.ANSWER


@pytest.mark.parametrize(("count", "length"), [(1000, 300), (10, 1_000_000), (1, 1_000_000), (1000, 8_000)])
def test_its_prompts_are_bounded_in_length_and_number(provider: Heard, count: int, length: int) -> None:
    ByProvider(provider, 60, ignored).sum_up(None, said(count, length=length))
    assert 1 <= len(provider.asked) <= 2 * by_provider.PROMPTS
    longest = max(sum(len(one.content) for one in asked.messages) for asked in provider.asked)
    assert longest <= by_provider.PROMPT + LONGEST + 1000


@pytest.mark.parametrize("fault", ["500", "429", "reset", "empty", "malformed", "context_too_long"])
def test_when_it_fails_the_extractive_one_serves(simulator: Simulator, provider: Heard, fault: str) -> None:
    simulator.script(fault)
    counted = sum(one.value for one in _samples() if one.labels.get("provider") == "mistral")
    assert ByProvider(provider, 20, ignored).sum_up(None, said(2)) == Extractive().sum_up(None, said(2))
    assert sum(one.value for one in _samples() if one.labels.get("provider") == "mistral") == counted + 1


def test_when_it_is_slow_it_is_not_waited_for(simulator: Simulator, provider: Heard) -> None:
    simulator.script("hang")
    began = time.monotonic()
    _, by = ByProvider(provider, 0.5, ignored).sum_up(None, said(2))
    assert by == "extractive"
    assert time.monotonic() - began < 10


def test_while_no_provider_can_take_the_call_the_extractive_one_serves_and_that_is_counted(
    simulator: Simulator, broker: Broker
) -> None:
    simulator.script(**always("503"))
    one = routed(broker.url, [simulator])
    for _ in range(10):
        ByProvider(one.router, 20, ignored).sum_up(None, said(2))
    settled(one)
    counted = _counted("router", "breaker_open")
    assert ByProvider(one.router, 20, ignored).sum_up("before", said(2)) == Extractive().sum_up("before", said(2))
    assert _counted("router", "breaker_open") == counted + 1
    assert simulator.counts.arrived == 10, "it was asked of nobody"
    one.close()


def _counted(provider: str, reason: str) -> float:
    labels = {"provider": provider, "reason": reason}
    return float(sum(one.value for one in _samples() if one.labels == labels))


def _samples() -> Sequence[Any]:
    return [one for metric in SUMMARY_FAULTS.collect() for one in metric.samples if one.name.endswith("_total")]


@pytest.mark.parametrize(("by", "wanted"), [("provider", "mistral"), ("extractive", "extractive")])
def test_the_settings_say_who_sums_up(provider: Heard, library: Library, by: str, wanted: str, tmp_path: Path) -> None:
    settings = Settings(
        summary_by=by, cold_storage_url=str(tmp_path), max_messages_in_memory=4, recent_context_window=2
    )
    session = library.converse(4)
    one = archiver(settings, library.database, provider)
    one.archive([session])
    one.close()
    made = library.sql.execute("SELECT by, first_number, through_number FROM summaries").fetchall()
    assert made == [(wanted, 1, 6)]
