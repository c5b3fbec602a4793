"""Whether a figure grows, from samples that depend on each other.

Ordinary least squares takes samples to be independent. Memory a second later is nearly the memory before, so its
interval would be far too narrow, and call noise a leak. What is used here instead is the method of batch means
(Schmeiser, "Batch Size Effects in the Analysis of Simulation Output", Operations Research 30, 1982, who advises 10 to
30 batches): consecutive samples are averaged in BATCHES groups, which are long enough to be nearly independent, and the
line is fitted to those. What dependence is left between neighbouring batches widens the interval by the effective
number of samples of a first-order autoregression, (1 + r) / (1 - r).

A run's beginning, in which caches and pools fill, is left out: how much of it is found by the rule of the marginal
standard error (White, "An Effective Truncation Heuristic for Bias Reduction in Simulation Output", Simulation 69,
1997). Of all places to begin, it takes the one from which on the mean is known best, in the first half of the run:
something that grows without end is never settled, and its second half shows that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

BATCHES = 20

#: Student's t for BATCHES - 2 degrees of freedom: 95 % lies within.
T = 2.101

#: Samples of a run, at least: with fewer, half of a run has less than two a batch.
LEAST_SAMPLES = 4 * BATCHES

#: Batches of a whole run, among whose edges the place to begin is looked for; and how many are left out at least.
PIECES, LEFT_OUT = 60, 6


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth per second, and the 95 % interval around it. `neighbours` is the correlation that was allowed for, `since`
    the time from which on the run had settled."""

    slope: float
    low: float
    high: float
    neighbours: float
    since: float


def slope(samples: Sequence[tuple[float, float]]) -> Slope | None:
    """Of pairs of seconds and values, in the order of time; None for fewer than can tell."""
    if len(samples) < LEAST_SAMPLES:
        return None
    settled = samples[_beginning(samples) :]
    times, values = zip(*(_mean(batch) for batch in _batches(settled, BATCHES)), strict=True)
    middle, spread = fmean(times), sum((when - fmean(times)) ** 2 for when in times)
    if not spread:
        return None
    rise = sum((when - middle) * value for when, value in zip(times, values, strict=True)) / spread
    left = [value - fmean(values) - rise * (when - middle) for when, value in zip(times, values, strict=True)]
    squares = sum(each**2 for each in left)
    neighbours = _correlation(left)
    error = math.sqrt(squares / (BATCHES - 2) / spread * (1 + neighbours) / (1 - neighbours))
    return Slope(rise, rise - T * error, rise + T * error, neighbours, settled[0][0])


def _beginning(samples: Sequence[tuple[float, float]]) -> int:
    """The place of the first sample that counts."""
    pieces = _batches(samples, PIECES)
    means = [_mean(piece)[1] for piece in pieces]
    begin = min(range(LEFT_OUT, PIECES // 2 + 1), key=lambda place: _doubt(means[place:]))
    return sum(map(len, pieces[:begin]))


def _doubt(means: Sequence[float]) -> float:
    """The marginal standard error's square, but for a factor."""
    middle = fmean(means)
    return sum((mean - middle) ** 2 for mean in means) / len(means) ** 2


def _batches(samples: Sequence[tuple[float, float]], size: int) -> list[Sequence[tuple[float, float]]]:
    edges = [round(number * len(samples) / size) for number in range(size + 1)]
    return [samples[start:end] for start, end in itertools.pairwise(edges)]


def _mean(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(when for when, _ in samples), fmean(value for _, value in samples)


def _correlation(left: Sequence[float]) -> float:
    """Between neighbours; none where it is negative, which would narrow the interval, and never a whole one."""
    squares = sum(each**2 for each in left)
    if not squares:
        return 0.0
    return min(max(sum(one * two for one, two in itertools.pairwise(left)) / squares, 0.0), 0.9)
