from __future__ import annotations

from random import Random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.providers.simulator import Behaviour, Fault, Lognormal, Uniform
from pipeline.providers.simulator.answers import answer, tokens
from pipeline.providers.simulator.behaviour import Script


def test_lognormal_latency_has_the_median_and_p99_that_were_asked_for() -> None:
    random = Random(1)
    percentiles = quantiles((Lognormal(median=0.25, p99=1).draw(random) for _ in range(20_000)), n=100)
    assert percentiles[49] == pytest.approx(0.25, rel=0.05)
    assert percentiles[98] == pytest.approx(1, rel=0.1)


def test_uniform_latency_stays_within_its_range() -> None:
    random = Random(1)
    assert all(1 <= Uniform(low=1, high=2).draw(random) <= 2 for _ in range(100))


def test_faults_by_rate_come_as_often_as_their_rate_says() -> None:
    script = Script(Behaviour(rates=(Fault(kind="503", rate=0.2), Fault(kind="hang", rate=0.1))))
    kinds = [script.next()[0].kind for _ in range(10_000)]
    assert kinds.count("503") / 10_000 == pytest.approx(0.2, abs=0.02)
    assert kinds.count("hang") / 10_000 == pytest.approx(0.1, abs=0.02)


def test_a_sequence_does_not_shift_the_latencies_of_a_seed() -> None:
    latency = Lognormal(median=1, p99=5)
    plain, scripted = (
        Script(Behaviour(latency=latency)),
        Script(Behaviour(latency=latency, sequence=(Fault(kind="503"),))),
    )
    assert [plain.next()[1] for _ in range(5)] == [scripted.next()[1] for _ in range(5)]


def test_rates_over_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="over 1"):
        Behaviour(rates=(Fault(kind="503", rate=0.6), Fault(kind="500", rate=0.6)))


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text


def test_an_answer_depends_on_seed_and_messages() -> None:
    messages = [{"role": "user", "content": "hello"}]
    assert answer(1, messages) == answer(1, messages)
    assert len({answer(seed, messages) for seed in range(20)}) > 5
