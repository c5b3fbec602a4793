"""The table of a chaos run: of each fault, what it touched and what became of that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stress.chaos.fault import LEAST, Fault, Strike
from stress.report.figures import Grid
from stress.report.text import duration
from stress.thresholds import Threshold, Verdict, thresholds

TITLE = "Faults, and what became of the requests that they touched"
COLUMNS = ("fault", "made", "touched", "succeeded", "lost", "doubled", "reordered", "recovery")

#: What must hold of the rows; a fault that was not made is in none of these figures.
BARS = thresholds(
    "touched_lost = 0",
    "touched_doubled = 0",
    "touched_reordered = 0",
    f"least_touched >= {LEAST}",
    "least_succeeded >= 95 %",
    "longest_recovery < 30 s",
    "not_recovered = 0",
    "not_whole_again = 0",
    "broke = 0",
)


@dataclass
class Row:
    """One fault. `recoveries` has the seconds of each strike, None where what it touched never ran again, and nothing
    for a last one whose recovery nobody saw; `why_not` says why it was not made, and `broke` whether that was while it
    was being made or looked after: the run has failed."""

    fault: Fault
    strikes: list[Strike] = field(default_factory=list)
    recoveries: list[float | None] = field(default_factory=list)
    why_not: str = ""
    broke: bool = False
    whole_again: bool = True

    @property
    def touched(self) -> set[str]:
        return {id_ for strike in self.strikes for id_ in strike.touched}


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the requests that a fault touched. `least` is of the strike that touched the fewest;
    `recovery` the longest of all, None where there was none. `interrupted` were cancelled by their own users."""

    fault: Fault
    made: int
    touched: int
    least: int
    succeeded: int
    lost: int
    doubled: int
    reordered: int
    recovery: float | None
    recovered: bool
    whole_again: bool
    interrupted: int = 0

    @property
    def success_rate(self) -> float | None:
        """The share that was answered of what was to be."""
        wanted = self.touched - self.interrupted
        return self.succeeded / wanted if wanted else None


def fate(
    row: Row, statuses: Mapping[str, str], wrong: Mapping[str, Collection[str]], *, interrupting: bool = False
) -> Fate:
    """Of a fault that was made. `wrong` are the whole run's requests by what is wrong with them (`integrity`);
    `interrupting` says that their users interrupt: nothing else cancels a request here."""
    touched = row.touched
    lost = {*wrong["lost"], *wrong["unfinished"]} | {id_ for id_ in touched if id_ not in statuses}
    known = [seconds for seconds in row.recoveries if seconds is not None]
    return Fate(
        fault=row.fault,
        made=len(row.strikes),
        touched=len(touched),
        least=min(len(strike.touched) for strike in row.strikes),
        succeeded=sum(statuses.get(id_) == "succeeded" for id_ in touched),
        lost=len(touched & lost),
        doubled=len(touched.intersection(wrong["doubled"])),
        reordered=len(touched.intersection(wrong["reordered"])),
        recovery=max(known, default=None),
        recovered=len(known) == len(row.recoveries),
        whole_again=row.whole_again,
        interrupted=sum(statuses.get(id_) == "cancelled" for id_ in touched) if interrupting else 0,
    )


def grids(fates: Sequence[Fate], rows: Iterable[Row]) -> list[Grid]:
    """The table, and beneath it why a fault was not made."""
    missing = [row for row in rows if row.why_not]
    lines = [_line(each) for each in fates]
    lines += [(row.fault.name, None, "not run", *[None] * (len(COLUMNS) - 3)) for row in missing if not row.strikes]
    made = [Grid(TITLE, COLUMNS, lines)]
    if missing:
        made.append(Grid("Not run", ("fault", "why"), [(row.fault.name, row.why_not) for row in missing]))
    return made


def _line(each: Fate) -> tuple[str | float | None, ...]:
    if not each.recovered:
        recovery: str | None = "never"
    else:
        recovery = None if each.recovery is None else duration(each.recovery)
    return (
        each.fault.name,
        each.made,
        each.touched,
        each.succeeded,
        each.lost,
        each.doubled,
        each.reordered,
        recovery,
    )


def judge(fates: Sequence[Fate], bars: Sequence[Threshold] = BARS, *, broke: int = 0) -> list[Verdict]:
    """Each bar against the worst of the rows. So many faults `broke` while they were being made. How many were answered
    is not judged where it is asked of none of the faults that were made."""
    measured = figures(fates, broke=broke)
    asked = not fates or any(not each.fault.spared for each in fates)
    return [bar.judge(measured) for bar in bars if asked or bar.figure != "least_succeeded"]


def figures(fates: Sequence[Fate], *, broke: int = 0) -> dict[str, float | None]:
    """The worst of the rows; None where there is none."""
    shares = [each.success_rate for each in fates if each.success_rate is not None and not each.fault.spared]
    known = {"broke": broke} if fates or broke else {}
    if not fates:
        return {**dict.fromkeys((bar.figure for bar in BARS), None), **known}
    return {
        **known,
        "touched_lost": sum(each.lost for each in fates),
        "touched_doubled": sum(each.doubled for each in fates),
        "touched_reordered": sum(each.reordered for each in fates),
        "least_touched": min(each.least for each in fates),
        "least_succeeded": min(shares, default=None),
        "longest_recovery": max((each.recovery for each in fates if each.recovery is not None), default=None),
        "not_recovered": sum(not each.recovered for each in fates),
        "not_whole_again": sum(not each.whole_again for each in fates),
    }


def figures_by_fault(fates: Sequence[Fate], rows: Iterable[Row]) -> dict[str, float | None]:
    """Every row's own figures, as `fault.figure`, for two runs to be compared by. A fault that was not made has 0
    `made` and nothing else; a `recovery` that never was, or that nobody saw, is None."""
    told: dict[str, float | None] = {f"{row.fault.name}.made": 0 for row in rows if not row.strikes}
    for each in fates:
        own = {
            "made": each.made,
            "touched": each.touched,
            "success_rate": each.success_rate,
            "lost": each.lost,
            "doubled": each.doubled,
            "reordered": each.reordered,
            "recovery": each.recovery if each.recovered else None,
        }
        told |= {f"{each.fault.name}.{name}": value for name, value in own.items()}
    return told
