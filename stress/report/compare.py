"""What changed between two runs: `compare before.json after.json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stress.report.figures import VERSION

#: Figures that are better when higher; all others are better when lower, or neither. Those of one fault are named by
#: their last part.
HIGHER = {"success_rate", "succeeded", "per_second", "retry_success", "made", "least_succeeded", "least_touched"}

#: Figures that say what was asked for, not how well it went.
NEITHER = {"requests", "cancelled", "running_max", "memory_start", "attempts_mean", "touched"}

#: Columns of a figure's name, at least.
NAME = 24

#: What two runs of the same thing differ by anyway: changes below this share are not told.
NOISE = 0.05

DESCRIPTION = (
    "Show which figures of two runs differ by more than 5 %.\n\nExample: pipeline stress compare before.json after.json"
)


def main(given: list[str], prog: str) -> int:
    """Print it. Returns the exit code: 2 for files that are no reports."""
    parser = argparse.ArgumentParser(
        prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="a file that --output wrote")
    parser.add_argument("after", type=Path, help="another")
    options = parser.parse_args(given)
    try:
        before, after = _read(options.before), _read(options.after)
    except ValueError as wrong:
        print(f"{prog}: {wrong}", file=sys.stderr)
        return 2
    print("\n".join(compare(before, after)))
    return 0


def _read(path: Path) -> Mapping[str, Any]:
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError) as wrong:
        raise ValueError(f"{path}: {wrong}") from None
    if not isinstance(report, dict) or report.get("version") != VERSION or "figures" not in report:
        raise ValueError(f"{path}: is no report of version {VERSION}, as --output writes it")
    return report


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Lines of text: what was run otherwise, the verdicts, the figures that changed."""
    for name in ("name", "machine"):
        if before[name] != after[name]:
            yield f"{name}: {before[name]} -> {after[name]}"
    yield from _differences(before["plan"], after["plan"], skip={"exact"})
    yield from _differences(before["settings"], after["settings"], skip=set())
    yield f"verdict: {_word(before)} -> {_word(after)}"
    old, new = before["figures"], after["figures"]
    rows = {name: _row(name, old.get(name), new.get(name)) for name in {**old, **new}}
    changed = {name: row for name, row in rows.items() if row is not None}
    if not changed:
        yield "no figure changed by more than 5 %"
        return
    width = max(NAME, *(len(name) + 1 for name in changed))
    yield f"\n{'figure':<{width}}{'before':>14}{'after':>14}{'change':>12}"
    yield from (f"{name:<{width}}{row}" for name, row in changed.items())


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], *, skip: set[str]) -> Iterator[str]:
    for name in {**before, **after}:
        if name not in skip and before.get(name) != after.get(name):
            yield f"{name}: {before.get(name)} -> {after.get(name)}"


def _word(report: Mapping[str, Any]) -> str:
    return "passed" if report["passed"] else "failed"


def _row(name: str, before: float | None, after: float | None) -> str | None:
    """What stands behind the name; None where there is nothing to tell."""
    if before == after:
        return None
    if before is None or after is None:
        return f"{_figure(before):>14}{_figure(after):>14}"
    share = (after - before) / abs(before) if before else None
    if share is not None and abs(share) < NOISE:
        return None
    change = "-" if share is None else f"{share:+.0%}"
    return f"{_figure(before):>14}{_figure(after):>14}{change:>12}  {_judged(name, after - before)}".rstrip()


def _judged(name: str, change: float) -> str:
    last = name.rpartition(".")[2]
    if last in NEITHER:
        return ""
    return "better" if (change > 0) == (last in HIGHER) else "worse"


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6g}"
