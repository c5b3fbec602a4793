"""What the probes see of the workers."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import pytest

from stress.looks import Memory

HERE, PARENT = psutil.Process(), psutil.Process().parent()
assert PARENT is not None


@pytest.mark.parametrize(
    ("found", "replaced"),
    [
        ([[HERE], [HERE]], False),
        ([None, [HERE], None, [HERE]], False),  # who cannot be seen for a moment is not gone
        ([[HERE], [PARENT]], True),
        ([[HERE], [], [HERE]], True),
        ([[HERE], [HERE, PARENT], [HERE]], True),
    ],
)
def test_workers_that_are_not_the_same_at_every_look_were_replaced(
    found: Sequence[Sequence[psutil.Process] | None],
    replaced: bool,  # noqa: FBT001
) -> None:
    coming = iter(found)
    sizes = Memory(lambda: next(coming))
    for _ in found:
        sizes()
    assert sizes.replaced is replaced
