from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from stress.interrupting import INTERRUPTED
from stress.overhead.fleet import ROOT
from tests.servers import eventually


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


def test_who_says_how_users_begin_says_which_users() -> None:
    done = run("--apart")
    assert done.returncode == 2
    assert "--apart says how the users of --users begin" in done.stderr


def test_a_run_that_is_ended_leaves_no_process() -> None:
    command = [sys.executable, "-m", "stress.overhead", "--users", "50", "--requests", "1000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        whole = psutil.Process(running.pid)
        started: list[psutil.Process] = []

        def at_work() -> bool:
            started[:] = whole.children(recursive=True)
            return any("stress.overhead.producer" in " ".join(one.cmdline()) for one in started)

        eventually(lambda: not_gone(at_work), 100, what="it sends requests")
        running.terminate()
        assert running.wait(60) == INTERRUPTED
    _, alive = psutil.wait_procs(started, 10)
    assert alive == []


def not_gone(look: Callable[[], bool]) -> bool:
    """What a look at processes says, which come and go."""
    try:
        return look()
    except psutil.Error:
        return False
