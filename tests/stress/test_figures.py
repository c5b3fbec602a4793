"""What the harness computes: latencies and their correction, arrivals, trends, thresholds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stress.latency import Latencies
from stress.load.arrivals import arrivals
from stress.load.record import Record
from stress.load.recorder import Recorder
from stress.plan import Stage
from stress.probe import Series
from stress.thresholds import Threshold
from stress.trend import Slope, slope

# -- latencies --------------------------------------------------------------------------------------------------------


def test_latencies_are_kept_at_three_digits() -> None:
    latencies = Latencies()
    for milliseconds in range(1, 1001):
        latencies.record(milliseconds / 1e3)
    spread = latencies.spread()
    assert spread is not None
    assert spread.count == 1000
    assert spread.min == pytest.approx(0.001, rel=2e-3)
    assert spread.mean == pytest.approx(0.5005, rel=2e-3)
    assert spread.p50 == pytest.approx(0.5, rel=2e-3)
    assert spread.p95 == pytest.approx(0.95, rel=2e-3)
    assert spread.p99 == pytest.approx(0.99, rel=2e-3)
    assert spread.max == pytest.approx(1.0, rel=2e-3)


def test_none_have_no_spread() -> None:
    assert Latencies().spread() is None


def test_a_latency_stands_for_those_that_its_sender_missed_down_to_one_interval() -> None:
    # a request each 10 ms, 100 s of 1 ms; then one that takes 100 s: 9,999 were missed, of 99.99 s, 99.98 s … 0.01 s
    latencies = Latencies()
    latencies.record(0.001, times=10_000)
    latencies.record(100.0)
    plain, corrected = latencies.spread(), latencies.corrected(0.01).spread()
    assert plain is not None
    assert corrected is not None
    assert plain.p99 == pytest.approx(0.001, rel=2e-3)
    assert corrected.count == pytest.approx(20_000, abs=2)
    assert corrected.min == pytest.approx(0.001, rel=2e-3)
    assert corrected.p50 == pytest.approx(0.001, rel=0.01)
    assert corrected.p95 == pytest.approx(90, rel=0.01)
    assert corrected.p99 == pytest.approx(98, rel=0.01)


def test_what_a_slow_system_holds_up_counts_from_when_it_was_due_in_the_open_model_alone() -> None:
    late = Record(due=1.0, sent=3.0, accepted=3.1, ended=3.5, outcome="succeeded", id="a")
    for open_model, latency in ((True, 2.5), (False, 0.5)):
        recorder = Recorder(open_model=open_model)
        recorder.hear([late])
        spread, lag = recorder.latencies.spread(), recorder.lags.spread()
        assert spread is not None
        assert lag is not None
        assert spread.max == pytest.approx(latency, rel=2e-3)
        assert lag.max == pytest.approx(2, rel=2e-3)


def test_a_wait_for_a_thread_is_the_senders_lag_and_the_users_latency_but_not_how_long_it_took_to_accept() -> None:
    recorder = Recorder(open_model=False)
    recorder.hear([Record(1.0, 2.0, accepted=6.0, ended=9.0, outcome="succeeded", id="a", waited=3.0)])
    spreads = [each.spread() for each in (recorder.lags, recorder.waits, recorder.accepting, recorder.latencies)]
    assert [spread and spread.max for spread in spreads] == pytest.approx([4, 3, 1, 7], rel=2e-3)
    assert recorder.heard["a"] == (5.0, 6.0, "succeeded")


def test_what_went_wrong_is_counted_by_kind_with_its_first_and_last_time() -> None:
    recorder = Recorder(open_model=False)
    for ended in (5.0, 3.0, 9.0):
        recorder.hear([Record(1.0, 1.0, 1.1, ended, "failed", f"{ended}", "RequestFailed http_503", 3)])
    recorder.hear([Record(1.0, 1.0, None, 2.0, "refused", None, "QueueFull")])
    assert recorder.latencies.spread() is None
    assert recorder.outcomes == {"failed": 3, "refused": 1}
    seen = recorder.errors["RequestFailed http_503"]
    assert (seen.count, seen.first, seen.last) == (3, 3.0, 9.0)
    assert recorder.heard.keys() == {"5.0", "3.0", "9.0"}  # what was refused has no id


def test_only_who_was_refused_may_have_been_accepted_without_knowing_it() -> None:
    recorder = Recorder(open_model=False)
    away = "LedgerUnavailable"
    recorder.hear([Record(1.0, 1.0, None, 2.0, "refused", None, away), Record(1.0, 1.0, None, 2.0, "refused")])
    recorder.hear([Record(1.0, 1.0, 1.1, 2.0, "unread", "a", away)])
    assert recorder.unsure == 1


def test_a_request_that_more_than_one_caller_was_given_is_known() -> None:
    recorder = Recorder(open_model=True)
    recorder.hear([Record(1.0, 1.0, 1.1, 2.0, "succeeded", id_) for id_ in ("a", "b", "a", "a")])
    assert recorder.repeated == {"a"}


# -- arrivals ---------------------------------------------------------------------------------------------------------


def test_a_steady_rate_comes_evenly() -> None:
    assert list(arrivals([Stage(2, 5, 5)])) == pytest.approx([0.2 * number for number in range(1, 11)])


def test_a_ramp_comes_ever_faster_and_stages_follow_each_other() -> None:
    times = list(arrivals([Stage(10, 0, 20), Stage(5, 20, 20), Stage(10, 20, 0)]))
    assert len(times) == 300
    assert sum(time <= 5 for time in times) == 25  # a quarter of the ramp's 100
    assert sum(10 < time <= 15 for time in times) == 100
    assert times == sorted(times)
    assert times[-1] <= 25


@given(st.lists(st.builds(Stage, st.floats(0.1, 20), st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=4))
def test_as_many_come_as_the_rates_make(stages: list[Stage]) -> None:
    times = list(arrivals(stages))
    assert len(times) == pytest.approx(sum(stage.count for stage in stages), abs=1.001)
    assert times == sorted(times)
    assert all(0 <= time <= sum(stage.seconds for stage in stages) + 1e-6 for time in times)


# -- trends -----------------------------------------------------------------------------------------------------------


def dependent(random: Random, growth: float, *, count: int = 600, memory: float = 0.9) -> list[tuple[float, float]]:
    """Samples of a growing figure, each with most of the deviation of the one before it."""
    deviation, samples = 0.0, []
    for number in range(count):
        deviation = memory * deviation + random.gauss(0, 1)
        samples.append((float(number), 100 + growth * number + deviation))
    return samples


def holds(found: Slope | None, growth: float) -> bool:
    assert found is not None
    return found.low <= growth <= found.high


@pytest.mark.parametrize("growth", [0.0, 0.05])
def test_the_interval_holds_the_true_slope_of_samples_that_depend_on_each_other(growth: float) -> None:
    random = Random(1)
    held = sum(holds(slope(dependent(random, growth)), growth) for _ in range(200))
    assert held >= 180  # least squares over the samples would hold it in about 40 %


def test_growth_well_above_the_noise_lies_above_0() -> None:
    found = slope(dependent(Random(1), 0.05))
    assert found is not None
    assert found.low > 0


@pytest.mark.parametrize("settled", [60, 150, 290])
def test_the_beginning_is_left_out_as_long_as_it_takes_up_to_half_of_the_run(settled: int) -> None:
    random = Random(settled)
    found = slope([(float(number), min(number, settled) + random.gauss(0, 1)) for number in range(600)])
    assert found is not None
    assert found.low <= 0 <= found.high
    assert settled <= found.since <= max(settled + 20, 80)


@pytest.mark.parametrize(
    "growth",
    [[0.05 * n for n in range(600)], [2 * n**0.5 for n in range(600)], [n // 60 for n in range(600)]],
    ids=["steadily", "ever less", "by steps"],
)
def test_what_grows_to_the_end_is_never_taken_for_a_beginning(growth: list[float]) -> None:
    random = Random(1)
    found = slope([(float(number), 100 + grown + random.gauss(0, 1)) for number, grown in enumerate(growth)])
    assert found is not None
    assert found.since <= 300
    assert found.low > 0


def test_few_samples_have_no_trend() -> None:
    assert slope([(float(number), 1.0) for number in range(79)]) is None
    assert slope([]) is None


# -- series and thresholds --------------------------------------------------------------------------------------------


def test_what_could_not_be_seen_is_left_open_and_is_no_zero() -> None:
    series = Series()
    series.add(1.0, {"depth": 5})
    series.add(2.0, {"depth": None, "late": 1})
    series.add(3.0, {"depth": 7, "late": 2})
    assert series.seen("depth") == [(1.0, 5), (3.0, 7)]
    assert series.seen("late") == [(2.0, 1), (3.0, 2)]
    assert series.seen("never") == []


@pytest.mark.parametrize(
    ("text", "measured", "passed"),
    [
        ("p95 < 2 s", 1.999, True),
        ("p95 < 2 s", 2.0, False),
        ("p95 <= 2000 ms", 2.0, True),
        ("success_rate > 90 %", 0.9, False),
        ("memory_growth < 100 MB", 99e6, True),
        ("lost = 0", 0, True),
        ("lost = 0", 1, False),
        ("memory_slope_low <= 0", -0.5, True),
        ("p95 < 2 s", None, False),  # what was not measured holds nothing
    ],
)
def test_thresholds_are_judged_in_their_unit(text: str, measured: float | None, passed: bool) -> None:  # noqa: FBT001
    threshold = Threshold.parse(text)
    assert threshold.judge({threshold.figure: measured}).passed is passed


@pytest.mark.parametrize("text", ["p95", "p95 < x", "p95 < 2 parsecs", "p95 < 2..3 s", "< 2 s", "p95 ! 2"])
def test_what_is_no_threshold_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"threshold '.*'"):
        Threshold.parse(text)
