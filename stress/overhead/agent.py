"""The pipeline's side of the work: an agent that waits as long as the bare task does."""

from __future__ import annotations

import time

from pipeline import Turn, agent
from stress.overhead.load import WORK_SECONDS


@agent("sleeper")
def sleeper(turn: Turn) -> str:
    """Read the context, wait, answer."""
    assert turn.context is not None  # the bare task reads its history too
    time.sleep(WORK_SECONDS)
    return "answer"
