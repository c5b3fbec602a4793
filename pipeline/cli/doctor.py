"""`pipeline doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline import settings
from pipeline.cli.exits import FAILED
from pipeline.cli.output import AsJson, console, emit_json, printable
from pipeline.doctor import Finding, Level, examine

STYLES = {Level.fine: "green", Level.warning: "yellow", Level.wrong: "bold red"}

Flower = Annotated[str | None, typer.Option(help="Flower's URL; that of the local stack when not given.")]


def doctor(*, flower: Flower = None, as_json: AsJson = False) -> None:
    """Look for what is wrong with this installation, and say what to do about it.

    Exits 1 when something is wrong; warnings do not fail.

    Example: pipeline doctor --flower http://flower.internal:5555
    """
    report = examine(settings.current(), flower=flower)
    if as_json:
        emit_json(report)
    else:
        out = console()
        out.print(_table(report))
        levels = [finding.level for findings in report.values() for finding in findings]
        out.print(f"\n{levels.count(Level.wrong)} wrong, {levels.count(Level.warning)} warning(s)")
    if any(finding.level is Level.wrong for findings in report.values() for finding in findings):
        raise typer.Exit(FAILED)


def _table(report: dict[str, list[Finding]]) -> Table:
    made = Table.grid(padding=(0, 2, 0, 0))
    for check, findings in report.items():
        for finding in findings:
            told = Text(printable(finding.what))
            if finding.remedy:
                told.append(f"\n→ {printable(finding.remedy)}")
            made.add_row(Text(finding.level, style=STYLES[finding.level]), Text(check, no_wrap=True), told)
    return made
