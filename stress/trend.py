"""Whether a figure grows, from samples that depend on each other.

Ordinary least squares takes samples to be independent. Memory a second later is nearly the memory before, so its
interval would be far too narrow, and call noise a leak. What is used here instead is the method of batch means
(Schmeiser, "Batch Size Effects in the Analysis of Simulation Output", Operations Research 30, 1982, who advises 10 to
30 batches): consecutive samples are averaged in BATCHES groups, which are long enough to be nearly independent, and the
line is fitted to those. What dependence is left between neighbouring batches widens the interval by the effective
number of samples of a first-order autoregression, (1 + r) / (1 - r).
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

#: Samples a batch, at least: fewer say nothing.
LEAST = 3

#: The share of a run that is left out at its beginning, in which caches and pools fill.
WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth per second, and the 95 % interval around it. `neighbours` is the correlation that was allowed for."""

    slope: float
    low: float
    high: float
    neighbours: float


def slope(samples: Sequence[tuple[float, float]]) -> Slope | None:
    """Of pairs of seconds and values, in the order of time; None for fewer than can tell."""
    if not samples:
        return None
    begin, end = samples[0][0], samples[-1][0]
    settled = [sample for sample in samples if sample[0] >= begin + WARM_UP * (end - begin)]
    if len(settled) < BATCHES * LEAST:
        return None
    times, values = zip(*(_mean(batch) for batch in _batches(settled)), strict=True)
    middle, spread = fmean(times), sum((when - fmean(times)) ** 2 for when in times)
    if not spread:
        return None
    rise = sum((when - middle) * value for when, value in zip(times, values, strict=True)) / spread
    left = [value - fmean(values) - rise * (when - middle) for when, value in zip(times, values, strict=True)]
    squares = sum(each**2 for each in left)
    neighbours = _correlation(left)
    error = math.sqrt(squares / (BATCHES - 2) / spread * (1 + neighbours) / (1 - neighbours))
    return Slope(rise, rise - T * error, rise + T * error, neighbours)


def _batches(samples: Sequence[tuple[float, float]]) -> list[Sequence[tuple[float, float]]]:
    edges = [round(number * len(samples) / BATCHES) for number in range(BATCHES + 1)]
    return [samples[start:end] for start, end in itertools.pairwise(edges)]


def _mean(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(when for when, _ in samples), fmean(value for _, value in samples)


def _correlation(left: Sequence[float]) -> float:
    """Between neighbours; none where it is negative, which would narrow the interval, and never a whole one."""
    squares = sum(each**2 for each in left)
    if not squares:
        return 0.0
    return min(max(sum(one * two for one, two in itertools.pairwise(left)) / squares, 0.0), 0.9)
