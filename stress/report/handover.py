"""What becomes of a report: told on the screen, kept where that was asked for, and the exit code that it means."""

from __future__ import annotations

import json
from pathlib import Path

from stress.report.figures import Report
from stress.report.page import page
from stress.report.text import text

#: Exit codes.
PASSED, FAILED = 0, 1


def hand_over(made: Report, *, output: Path | None, report: Path | None) -> int:
    """Print it; write it as JSON to `output` and as a page to `report`, where given. Returns the exit code."""
    print(text(made))
    if output:
        output.write_text(json.dumps(made.to_json(), indent=1))
    if report:
        report.write_text(page(made))
    return PASSED if made.passed else FAILED
