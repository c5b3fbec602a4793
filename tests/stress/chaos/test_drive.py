"""What becomes of a fault that breaks while it is being made."""

from __future__ import annotations

import random
import subprocess
from types import SimpleNamespace
from typing import Any, cast

from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos.drive import Drive
from stress.chaos.fault import FAULTS, Fault, Strike
from stress.chaos.scene import Scene


def test_a_fault_that_breaks_is_told_and_the_others_are_made() -> None:
    def breaks(_: Scene) -> Strike:
        raise subprocess.CalledProcessError(32, ["mount"])

    fault = Fault(**{**_fields(FAULTS["storm_500"]), "strike": breaks})
    scene = SimpleNamespace(play=lambda *_: None, random=random.Random(1))
    said: list[str] = []
    drive = Drive(cast("Scene", scene), [fault], 0.0, said.append)
    drive._make(fault)
    assert drive.rows[fault.name].broke
    assert said[-1] == "storm_500: it broke: CalledProcessError"


def _fields(fault: Fault) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in fault.__slots__}
