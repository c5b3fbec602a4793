from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from stress.overhead.fleet import ROOT


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stress.overhead", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)


def test_a_quick_run_measures_both_sides_on_durable_servers(tmp_path: Path) -> None:
    done = run("--quick", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    measured = json.loads((tmp_path / "figures.json").read_text())
    durability = {"fsync": "on", "synchronous_commit": "on", "appendonly": "yes", "appendfsync": "everysec"}
    assert measured.items() >= durability.items()
    [pair] = measured["loads"][0]["pairs"]
    for side in ("pipeline", "bare"):
        assert pair[side]["per_second"] > 0
        assert pair[side]["p50"] >= 200, "the work itself takes that long"
        assert all(cost >= 0 for cost in pair[side]["cpu"].values())
        assert pair[side]["megabytes"] > 10


def test_loads_are_given_in_pairs_of_users_and_requests() -> None:
    done = run("--users", "10", "100", "--requests", "5")
    assert done.returncode == 2
    assert "--users and --requests want as many figures each" in done.stderr
