from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from stress.overhead import report
from stress.overhead.load import Load, Timing
from stress.overhead.measure import PARTS, Round, summarise
from stress.overhead.sides import BARE, PIPELINE

CPU = dict.fromkeys(PARTS, 1.5)


def a_round(users: int, per_second: float, side: str = PIPELINE.name, own_p50: float = 5.0) -> Round:
    return Round(
        side=side,
        users=users,
        requests=4,
        apart=False,
        per_second=per_second,
        p50=own_p50 + 200,
        p95=220.0,
        p99=222.0,
        own_p50=own_p50,
        own_p99=22.0,
        cpu=CPU,
        megabytes=151.2,
    )


def pairs(users: int, *rates: tuple[float, float]) -> dict[Load, list[report.Pair]]:
    return {Load(users, 4): [(a_round(users, ours), a_round(users, bare, BARE.name)) for ours, bare in rates]}


@pytest.mark.parametrize(("users", "least"), [(500, 1.0), (100, 0.9)])
def test_the_bar_at_100_and_500_users_is_the_median_ratio(users: int, least: float) -> None:
    outliers = [(2000.0, 1.0), (1.0, 2000.0)]
    [kept] = report.bars(pairs(users, (least * 300, 300), *outliers))
    [missed] = report.bars(pairs(users, (least * 300 - 3, 300), *outliers))
    assert (kept.passed, missed.passed) == (True, False)


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
def test_the_bar_at_10_users_is_the_own_time_and_not_the_ratio_however_they_begin(*, apart: bool) -> None:
    slow = replace(a_round(10, 1), apart=apart, own_p50=10.1, own_p99=25.0)
    bars = report.bars({slow.load: [(slow, replace(a_round(10, 9, BARE.name), apart=apart))]})
    assert {bar.text.split()[2]: bar.passed for bar in bars} == {"p50": False, "p99": True}


def test_other_numbers_of_users_have_no_bar() -> None:
    assert report.bars(pairs(42, (1, 1000))) == []


def test_the_table_fits_80_columns_and_shows_the_spread_of_the_ratios() -> None:
    table = report.table(pairs(500, (300, 300), (330, 300), (990, 300)))
    assert max(map(len, table.splitlines())) <= 80
    assert "ratio 1.10 (1.00 to 3.30)" in table


def test_the_json_holds_every_round() -> None:
    measured = report.as_json(pairs(500, (300, 200), (400, 200)), {"slots": 250})
    [load] = json.loads(json.dumps(measured))["loads"]
    assert load["ratios"] == [1.5, 2.0]
    assert load["pairs"][1][PIPELINE.name] == asdict(a_round(500, 400))


def test_a_round_is_told_in_milliseconds_and_by_request() -> None:
    timing = Timing(elapsed=2.0, latencies=[0.2 + milliseconds / 1e3 for milliseconds in range(101)])
    done = summarise(BARE, Load(10, 10), timing, dict.fromkeys(PARTS, 0.5), memory=100.0)
    assert done.per_second == pytest.approx(50)
    assert [done.p50, done.p99, done.own_p50, done.own_p99] == pytest.approx([250, 299, 50, 99])
    assert done.cpu_total == pytest.approx(20)
