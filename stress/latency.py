"""Latencies, kept in an HdrHistogram: any number of them at three digits, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

#: The range that is told apart, in microseconds: up to a day. Longer ones count as that.
LOWEST, HIGHEST = 1, 86_400_000_000
DIGITS = 3

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, in seconds."""

    count: int
    min: float
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


class Latencies:
    """Seconds, as they are measured."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST, HIGHEST, DIGITS)

    def record(self, seconds: float, *, times: int = 1) -> None:
        self._histogram.record_value(min(max(LOWEST, round(seconds * 1e6)), HIGHEST), times)

    def corrected(self, expected_interval: float) -> Latencies:
        """With what a sender who waits for answers would have measured, had it kept its pace.

        While a request takes longer than the sender's interval (seconds), those that it should have sent meanwhile
        are missing from what was measured, and all of them would have been slow ("coordinated omission"). This is
        HdrHistogram's correction: a latency of L stands also for L - interval, L - 2 intervals, … down to one interval.
        """
        made = Latencies()
        interval = max(1, round(expected_interval * 1e6))
        for each in self._histogram.get_recorded_iterator():
            value, times = each.value_iterated_to, each.count_added_in_this_iter_step
            made._histogram.record_value(value, times)
            # not record_corrected_value: that goes on below one interval, where nothing was missing
            for missing in range(value - interval, interval - 1, -interval):
                made._histogram.record_value(missing, times)
        return made

    @property
    def median(self) -> float:
        """Zero without any."""
        return float(self._histogram.get_value_at_percentile(50)) / 1e6 if self._histogram.total_count else 0.0

    def spread(self) -> Spread | None:
        """None without any."""
        histogram = self._histogram
        if not histogram.total_count:
            return None
        found = histogram.get_percentile_to_value_dict(list(PERCENTILES))
        p50, p95, p99 = (found[each] / 1e6 for each in PERCENTILES)
        low, mean, high = histogram.get_min_value(), histogram.get_mean_value(), histogram.get_max_value()
        return Spread(histogram.total_count, low / 1e6, mean / 1e6, p50, p95, p99, high / 1e6)
