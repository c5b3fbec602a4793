"""When the requests of an open load are due."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from stress.plan import Stage


def arrivals(stages: Sequence[Stage]) -> Iterator[float]:
    """Seconds from the start, one a request, evenly spaced by the rate of their moment."""
    began, owed = 0.0, 1.0  # what is left until the next request, in requests
    for stage in stages:
        left = stage.count
        while left >= owed:
            left -= owed
            owed = 1.0
            yield began + _when(stage, stage.count - left)
        owed -= left
        began += stage.seconds


def _when(stage: Stage, count: float) -> float:
    """The second of the stage by which so many have come: the inverse of start*t + slope*t²/2."""
    slope = (stage.end - stage.start) / stage.seconds
    if abs(slope) < 1e-12:
        return count / stage.start
    # the root that neither divides by a small slope nor subtracts near equals
    return 2 * count / (stage.start + math.sqrt(max(0.0, stage.start**2 + 2 * slope * count)))
