from __future__ import annotations

import subprocess
import sys

from stress.overhead.fleet import ROOT


def test_a_small_run_measures_both_sides_and_the_context() -> None:
    options = [
        "--sizes",
        "1000",
        "2000",
        "--baseline",
        "2000",
        "--lengths",
        "100",
        "1000",
        "--queries",
        "20",
        "--no-bars",
    ]
    command = [sys.executable, "-m", "stress.archive", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:5]] == ["ours", "ours", "ours", "baseline"]
    assert " 1,800 messages in" in lines[3]
    assert " 1,800 messages in" in lines[4]
    assert [line.split(":")[0] in ("held", "MISSED") for line in lines[-5:]] == [True] * 5
