"""An agent that says what a collector finds in its worker, of all that was left behind since it was asked before."""

from __future__ import annotations

import gc

from pipeline import Turn, agent


@agent("collect")
def collect(_: Turn) -> str:
    found = gc.collect()
    gc.disable()  # nobody collects meanwhile
    return str(found)
