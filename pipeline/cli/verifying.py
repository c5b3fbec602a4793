"""What `pipeline archive verify` does: look, tell each finding, and sum up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from pipeline.archive.verify import Finding, Verdict, Verifier
from pipeline.cli.archiving import opened
from pipeline.cli.exits import FAILED
from pipeline.cli.output import emit_json, printable


def verify(*, fix: bool, as_json: bool) -> None:
    """Look at all archives. Exits 1 when something is not as it should be."""
    findings: list[dict[str, Any]] = []

    def tell(finding: Finding) -> None:
        if as_json:
            findings.append(asdict(finding))
            return
        state = "removed" if finding.fixed else finding.kind
        typer.echo(printable(f"{state:>10}  {finding.what}: {finding.why}"))

    with opened() as (database, storage):
        verdict = Verifier(database, storage, tell, fix=fix).verify()
    if as_json:
        emit_json({**asdict(verdict), "good": verdict.good, "found": findings})
    else:
        typer.echo(_sum(verdict))
    if not verdict.good:
        raise typer.Exit(FAILED)


def _sum(verdict: Verdict) -> str:
    looked = f"{verdict.archives} archive(s) with {verdict.messages} message(s), {verdict.sessions} conversation(s)"
    others = f"; {verdict.strangers} file(s) that are none of ours" if verdict.strangers else ""
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.findings.items()))
    removed = f"; {verdict.fixed} orphan(s) removed" if verdict.fixed else ""
    return f"{looked}{others}: {found or 'all as it should be'}{removed}"
