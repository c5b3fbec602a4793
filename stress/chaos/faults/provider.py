"""The provider fails all of its calls for a while. Touched each time: every request of which an attempt began
meanwhile. Some of them may fail, for attempts are bounded; none may be lost, doubled or reordered."""

from __future__ import annotations

import time
from collections.abc import Callable

from stress.chaos.fault import CALM, Strike, fault
from stress.chaos.scene import Scene

#: Seconds of a storm.
STORM = 5.0

#: The fault's name, how the simulator calls it, and what happens.
STORMS = (
    ("storm_429", "429", "Answer every call with 429"),
    ("storm_500", "500", "Answer every call with 500"),
    ("storm_hang", "hang", "Never answer a call, its connection open"),
    ("storm_reset", "reset", "Reset every call's connection"),
    ("storm_cut", "cut", "End every stream in the middle"),
    ("storm_malformed", "malformed", "Answer every call with what is no answer"),
)


def _storm(kind: str) -> Callable[[Scene], Strike]:
    def strike(scene: Scene) -> Strike:
        since = scene.ledger.now()
        began = time.monotonic()
        try:
            scene.play(rates=[{"kind": kind, "rate": 1.0}])
            scene.hold(STORM)
        finally:
            scene.play()
        ended = time.monotonic()
        return Strike(scene.ledger.begun_since(since), began, ended, anew=True)

    return strike


for _name, _kind, _what in STORMS:
    _made = _storm(_kind)
    _made.__doc__ = f"{_what}, for {STORM:g} s. Touched: every request of which an attempt began meanwhile."
    fault(_name, CALM, spared=True)(_made)
