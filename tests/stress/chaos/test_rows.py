"""The table tells what became of the touched, and one request that is lost, doubled or out of order fails the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from stress.chaos import faults as _declared  # noqa: F401 - which declares them
from stress.chaos.fault import FAULTS, LEAST, Strike
from stress.chaos.rows import COLUMNS, Row, fate, figures, figures_by_fault, grids, judge
from stress.report.compare import compare
from stress.report.text import table

KILLED, STORM = FAULTS["worker_killed_full"], FAULTS["storm_500"]

IDS = [f"request {number}" for number in range(LEAST)]

NOTHING_WRONG: Mapping[str, set[str]] = {"lost": set(), "unfinished": set(), "doubled": set(), "reordered": set()}

ANSWERED = dict.fromkeys(IDS, "succeeded")


def row(**changes: Any) -> Row:
    struck = Strike.at(10.0, dict.fromkeys(IDS, 1), anew=True)
    return Row(**{"fault": KILLED, "strikes": [struck], "recoveries": [12.0], **changes})


def broken(made: Row, statuses: Mapping[str, str] = ANSWERED, /, **wrong: set[str]) -> set[str]:
    """The figures whose bar does not hold."""
    judged = judge([fate(made, statuses, {**NOTHING_WRONG, **wrong})])
    return {verdict.text.split()[0] for verdict in judged if not verdict.passed}


def test_a_fault_whose_touched_were_all_answered_holds_every_bar() -> None:
    assert broken(row()) == set()


@pytest.mark.parametrize("what", ["lost", "doubled", "reordered"])
def test_one_touched_request_that_something_is_wrong_with_fails_the_run(what: str) -> None:
    assert broken(row(), ANSWERED, **{what: {IDS[3]}}) == {f"touched_{what}"}
    assert broken(row(), ANSWERED, **{what: {"an untouched one"}}) == set()


def test_a_touched_request_that_has_no_outcome_or_is_not_in_the_ledger_is_lost() -> None:
    assert broken(row(), unfinished={IDS[0]}) == {"touched_lost"}
    gone = {id_: status for id_, status in ANSWERED.items() if id_ != IDS[0]}
    assert "touched_lost" in broken(row(), gone)


def test_of_what_a_fault_touches_19_in_20_are_answered_save_in_a_storm() -> None:
    failed = {**ANSWERED, IDS[0]: "failed"}
    assert broken(row(), failed) == set()
    failed[IDS[1]] = "failed"
    assert broken(row(), failed) == {"least_succeeded"}
    assert broken(row(fault=STORM), failed) == set()


def test_what_users_have_interrupted_is_not_asked_to_be_answered_and_nobody_else_may_cancel() -> None:
    cancelled = {**ANSWERED, **dict.fromkeys(IDS[:3], "cancelled")}
    assert broken(row(), cancelled) == {"least_succeeded"}
    told = fate(row(), cancelled, NOTHING_WRONG, interrupting=True)
    assert all(verdict.passed for verdict in judge([told]))
    failed = fate(row(), {**cancelled, **dict.fromkeys(IDS[3:5], "failed")}, NOTHING_WRONG, interrupting=True)
    assert not all(verdict.passed for verdict in judge([failed]))
    assert fate(row(), dict.fromkeys(IDS, "cancelled"), NOTHING_WRONG, interrupting=True).success_rate is None


def test_a_run_of_storms_alone_does_not_hold_a_bar_that_is_asked_of_none_of_them() -> None:
    storm = fate(row(fault=STORM), dict.fromkeys(IDS, "failed"), NOTHING_WRONG)
    assert "least_succeeded" not in {verdict.text.split()[0] for verdict in judge([storm])}
    killed = fate(row(), ANSWERED, NOTHING_WRONG)
    assert "least_succeeded" in {verdict.text.split()[0] for verdict in judge([storm, killed])}
    assert "least_succeeded" in {verdict.text.split()[0] for verdict in judge([])}


def test_too_few_touched_a_slow_recovery_none_at_all_or_a_stack_that_stays_hurt_fails_the_run() -> None:
    few = Strike.at(0.0, dict.fromkeys(IDS[1:], 1))
    assert broken(row(strikes=[few])) == {"least_touched"}
    assert broken(row(recoveries=[30.1])) == {"longest_recovery"}
    assert broken(row(recoveries=[None])) == {"longest_recovery", "not_recovered"}
    assert broken(row(whole_again=False)) == {"not_whole_again"}


def test_of_several_strikes_the_worst_counts() -> None:
    strikes = [Strike.at(0.0, dict.fromkeys(IDS, 1)), Strike.at(99.0, dict.fromkeys(IDS[:5], 1))]
    told = fate(row(strikes=strikes, recoveries=[4.0, None]), ANSWERED, NOTHING_WRONG)
    assert (told.made, told.touched, told.least, told.recovery, told.recovered) == (2, LEAST, 5, 4.0, False)


def test_a_run_in_which_nothing_could_be_made_has_shown_nothing() -> None:
    assert not any(verdict.passed for verdict in judge([]))


def test_a_fault_that_was_not_made_says_so_and_why_and_has_no_figures() -> None:
    missing = Row(STORM, why_not="needs root")
    grid, reasons = grids([fate(row(), ANSWERED, NOTHING_WRONG)], [row(), missing])
    assert grid.rows[0] == (KILLED.name, 1, LEAST, LEAST, 0, 0, 0, "12.00 s")
    assert grid.rows[1] == (STORM.name, None, "not run", *[None] * (len(COLUMNS) - 3))
    assert reasons.rows == [(STORM.name, "needs root")]
    assert list(table(grid))[2].split() == [STORM.name, "-", "not", "run", *["-"] * (len(COLUMNS) - 3)]


def test_the_table_fits_80_columns_whatever_the_fault() -> None:
    one = replace(fate(row(), ANSWERED, NOTHING_WRONG), touched=1234, succeeded=1234)
    told = [replace(one, fault=fault) for fault in FAULTS.values()]
    for grid in grids(told, [Row(fault, why_not="needs root on Linux") for fault in FAULTS.values()]):
        assert max(map(len, table(grid))) <= 80


def test_a_fault_that_broke_while_it_was_being_made_fails_the_run_and_is_told_with_its_earlier_strikes() -> None:
    broke = row(why_not="it broke: CalledProcessError", broke=True)
    told = [fate(broke, ANSWERED, NOTHING_WRONG)]
    assert [verdict.text for verdict in judge(told, broke=1) if not verdict.passed] == ["broke = 0"]
    made, reasons = grids(told, [broke])
    assert len(made.rows) == 1
    assert reasons.rows == [(KILLED.name, "it broke: CalledProcessError")]


def compared(before: list[Row], after: list[Row]) -> list[str]:
    def told(rows: list[Row]) -> dict[str, Any]:
        fates = [fate(one, ANSWERED, NOTHING_WRONG) for one in rows if one.strikes]
        more = {**figures(fates), **figures_by_fault(fates, rows)}
        return {"name": "chaos", "machine": "m", "plan": {}, "settings": {}, "passed": True, "figures": more}

    return list(compare(told(before), told(after)))


def test_a_recovery_that_takes_longer_is_a_change_between_two_runs() -> None:
    said = compared([row(recoveries=[2.0])], [row(recoveries=[25.0])])
    [changed] = [line.split() for line in said if line.startswith(f"{KILLED.name}.")]
    assert changed == [f"{KILLED.name}.recovery", "2", "25", "+1150%", "worse"]
    assert compared([row()], [row()])[-1] == "no figure changed by more than 5 %"


def test_a_fault_that_was_made_and_is_not_run_any_more_is_a_change_between_two_runs() -> None:
    others = row(fault=STORM)
    said = compared([others, row()], [others, Row(KILLED, why_not="needs root")])
    changed = {line.split()[0]: line.split()[1:] for line in said if line.startswith(f"{KILLED.name}.")}
    assert changed[f"{KILLED.name}.made"] == ["1", "0", "-100%", "worse"]
    assert changed[f"{KILLED.name}.recovery"] == ["12", "not", "measured"]
