"""What the charts of a report show."""

from __future__ import annotations

from array import array

import pytest

from stress.load.recorder import Slice
from stress.report.series import percentiles


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(0, [None, None, None]), (1, [1, 1, 1]), (2, [1, 2, 2]), (100, [50, 95, 99]), (700, [350, 665, 693])],
)
def test_a_percentile_is_the_least_latency_that_so_many_of_a_hundred_do_not_exceed(
    count: int, ranks: list[float | None]
) -> None:
    assert percentiles(Slice(latencies=array("d", range(count, 0, -1)))) == ranks
