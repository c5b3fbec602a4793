from __future__ import annotations

import itertools
from random import Random

import pytest

from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos.fault import FAULTS
from stress.chaos.options import parse
from stress.chaos.schedule import PAUSE, chosen, schedule

ALL = list(FAULTS.values())


def test_each_fault_strikes_once_before_any_strikes_twice() -> None:
    order = [fault for fault, _ in itertools.islice(schedule(ALL, Random(1)), 2 * len(ALL))]
    assert {fault.name for fault in order[: len(ALL)]} == FAULTS.keys()
    assert {fault.name for fault in order[len(ALL) :]} == FAULTS.keys()


def test_a_seed_gives_one_order_and_one_rhythm() -> None:
    first, same, other = (list(itertools.islice(schedule(ALL, Random(seed)), len(ALL))) for seed in (1, 1, 2))
    assert first == same != other
    assert all(PAUSE[0] <= pause <= PAUSE[1] for _, pause in first)


def test_faults_are_chosen_by_name_and_by_family() -> None:
    assert chosen("all") == ALL
    assert {fault.name for fault in chosen("workers, garbage")} == {
        *(fault.name for fault in ALL if fault.family == "workers"),
        "garbage",
    }


@pytest.mark.parametrize("given", ["earthquake", "", "all,earthquake"])
def test_what_is_no_fault_is_refused_with_a_list_of_those_there_are(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--faults", given], "chaos")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert (given.rpartition(",")[2] or "nothing") in said
    assert "worker_killed_full" in said


def test_every_fault_says_what_it_does_and_what_it_touches(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--list"], "chaos") is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(FAULTS)
    assert all("Touched: " in line for line in lines)
