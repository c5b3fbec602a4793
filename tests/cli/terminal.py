"""The command as a user runs it: a process of its own, in a folder and an environment without settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: What the console script does.
PIPELINE = (sys.executable, "-c", "import sys; from pipeline.cli import main; main(prog_name='pipeline')")

#: Seconds that a command may take, on a busy machine.
TIMEOUT = 60


def environment(**settings: str) -> dict[str, str]:
    """Ours, without what colours output or sets up a pipeline, and with these settings."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CITE_AGENT_", "PYTHON")) and name not in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TERM")
    }
    return {**ours, "PYTHONPATH": str(ROOT), **settings}


def run(*arguments: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What `pipeline …` says, and its exit code."""
    return subprocess.run(
        [*PIPELINE, *arguments],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
