"""What becomes of a fault that breaks while it is being made or looked after, and of a run that is given up."""

from __future__ import annotations

import http.client
import random
import subprocess
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.errors import LedgerUnavailable, PipelineError
from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos.drive import Drive
from stress.chaos.fault import FAULTS, Fault, Level, Strike
from stress.chaos.scene import Scene

TOUCHED = {"request": 1}


def struck(_: Any) -> Strike:
    return Strike.at(time.monotonic(), TOUCHED)


def raises(fault: Exception) -> Callable[..., Any]:
    def act(*_: Any) -> None:
        raise fault

    return act


def fault_that(strike: Callable[[Scene], Strike]) -> Fault:
    return Fault(**{**_fields(FAULTS["storm_500"]), "strike": strike})


def made(fault: Fault, **changes: Any) -> tuple[Drive, list[str]]:
    """Have it strike, on a scene where nothing is wrong but these, and hear what is said."""
    ledger = SimpleNamespace(waiting=lambda _: 0)
    whole = {
        "play": lambda *_: None,
        "settle": lambda: True,
        "ledger": ledger,
        "random": random.Random(1),
        "giving_up": threading.Event(),
    }
    said: list[str] = []
    drive = Drive(cast("Scene", SimpleNamespace(**{**whole, **changes})), [fault], 0.0, said.append)
    drive._make(fault)
    return drive, said


def test_a_fault_that_breaks_is_told_and_the_others_are_made() -> None:
    fault = fault_that(raises(subprocess.CalledProcessError(32, ["mount"])))
    drive, said = made(fault)
    assert drive.rows[fault.name].broke
    assert said[-1] == "storm_500: it broke: CalledProcessError"


@pytest.mark.parametrize(
    "why", [PipelineError("no"), LedgerUnavailable(), http.client.BadStatusLine("no"), ConnectionRefusedError()]
)
def test_a_simulator_that_does_not_take_the_faults_level_breaks_the_fault_and_not_the_run(why: Exception) -> None:
    fault = fault_that(struck)

    def play(*level: Level) -> None:
        if level:
            raise why

    drive, said = made(fault, play=play)
    row = drive.rows[fault.name]
    assert (row.broke, row.strikes) == (True, [])
    assert said[-1] == f"storm_500: it broke: {type(why).__name__}"


def test_a_strike_after_which_the_simulator_does_not_calm_down_is_kept_without_a_recovery() -> None:
    fault = fault_that(struck)

    def play(*level: Level) -> None:
        if not level:
            raise PipelineError("no")

    row = made(fault, play=play)[0].rows[fault.name]
    assert (row.broke, row.touched, row.recoveries) == (True, set(TOUCHED), [])


def test_a_strike_is_kept_where_the_look_at_what_it_left_breaks() -> None:
    fault = fault_that(struck)
    row = made(fault, settle=raises(LedgerUnavailable()))[0].rows[fault.name]
    assert (row.broke, row.touched, len(row.recoveries)) == (True, set(TOUCHED), 1)
    row = made(fault, ledger=SimpleNamespace(waiting=raises(LedgerUnavailable())))[0].rows[fault.name]
    assert (row.broke, row.touched, row.recoveries) == (True, set(TOUCHED), [])


def test_a_run_that_is_given_up_waits_for_no_recovery_and_holds_none_against_the_fault() -> None:
    fault, giving_up = fault_that(struck), threading.Event()

    def waiting(_: Strike) -> int:
        giving_up.set()
        return 1

    drive, said = made(fault, ledger=SimpleNamespace(waiting=waiting), giving_up=giving_up)
    row = drive.rows[fault.name]
    assert (row.touched, row.recoveries, row.whole_again, row.broke) == (set(TOUCHED), [], True, False)
    assert said[-1] == "storm_500: 1 requests touched, the run was given up before they ran again"


def test_a_stack_that_is_not_whole_when_the_run_is_given_up_is_not_held_against_the_fault() -> None:
    fault, giving_up = fault_that(struck), threading.Event()

    def settle() -> bool:
        giving_up.set()
        return False

    row = made(fault, settle=settle, giving_up=giving_up)[0].rows[fault.name]
    assert row.whole_again
    assert not made(fault, settle=lambda: False)[0].rows[fault.name].whole_again


def test_once_given_up_no_further_fault_is_made_and_those_whose_turn_had_not_come_say_so() -> None:
    scene = SimpleNamespace(play=lambda *_: None, random=random.Random(1), giving_up=threading.Event())
    drive = Drive(cast("Scene", scene), list(FAULTS.values()), 60.0, lambda _: None)
    drive.give_up()
    drive.run()
    assert {row.why_not for row in drive.rows.values()} == {"the run was given up"}


def _fields(fault: Fault) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in fault.__slots__}
