"""A short run, the whole of it: a stack, load, a fault of each kind, and a table that holds."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stress.load.senders import HOME
from tests.servers import eventually

#: In one order, for a seed gives one.
FAULTS = ("worker_killed_full", "broker_emptied", "delivered_twice", "postgres_immediate", "storm_500")

#: So that what is lost with a worker is found in seconds.
QUICK = ("LEASE=3", "HEARTBEAT=0.5", "RECOVERY_INTERVAL=0.5", "REDELIVERY_GRACE=1", "OUTCOME_POLL=0.5")

#: Seconds within which all runs again on a machine that does other work, too: a lease and what is started again take
#: some, and several times as many there.
BUSY = 60


@pytest.mark.timeout(300)  # a minute, on a machine with nothing else to do
def test_what_faults_touch_is_answered_once_and_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stress.chaos", "--seed", "7", "--minutes", "0", "--slots", "30", "--quiet"]
    command += ["--faults", ",".join(FAULTS), *(part for setting in QUICK for part in ("--set", setting))]
    command += ["--output", str(tmp_path / "chaos.json"), "--report", str(tmp_path / "chaos.html")]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=280, check=False)
    told = json.loads((tmp_path / "chaos.json").read_text())
    broken = {verdict["text"].split()[0] for verdict in told["verdicts"] if not verdict["passed"]}
    assert broken <= {"longest_recovery"}, done.stdout + done.stderr  # which is for a machine that does nothing else
    assert told["figures"]["longest_recovery"] < BUSY, done.stdout
    assert done.returncode == len(broken)
    assert told["passed"] is not bool(broken)
    [grid] = told["grids"]
    rows = {row[0]: dict(zip(grid["columns"], row, strict=True)) for row in grid["rows"]}
    assert rows.keys() == set(FAULTS)
    assert all(row["touched"] >= 20 for row in rows.values())
    assert told["retries"]["worker_lost"] >= 20
    assert told["retries"]["http_500"] >= 20
    spans = [(span["start"], span["end"]) for span in told["faults"]]
    assert len(spans) == len(FAULTS)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), "none overlap"
    assert max(map(len, done.stdout.splitlines())) <= 80
    page = (tmp_path / "chaos.html").read_text()
    assert all(name in page for name in FAULTS)


@pytest.mark.timeout(300)
def test_ctrl_c_has_the_run_undo_its_fault_and_report_what_there_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stress.chaos", "--minutes", "60", "--slots", "30", "--rate", "10"]
    command += ["--faults", "storm_hang", "--output", str(tmp_path / "chaos.json")]
    said = tmp_path / "said"
    with said.open("wb") as errors, subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, stderr=errors) as run:
        eventually(lambda: "storm_hang …" in said.read_text() or run.poll() is not None, 120, what="a fault strikes")
        run.send_signal(signal.SIGINT)
        try:
            shown, _ = run.communicate(timeout=120)
        finally:
            run.kill()
    assert run.returncode == 1, said.read_text()
    assert "No further fault" in said.read_text()
    assert b"the run was given up" in shown
    told = json.loads((tmp_path / "chaos.json").read_text())
    assert "stopped after" in told["plan"]["load"]
    assert told["figures"]["storm_hang.made"] == 0
    broken = {
        verdict["text"].split()[0] for verdict in told["verdicts"] if verdict["measured"] and not verdict["passed"]
    }
    assert broken == set(), "nothing is lost, doubled or out of order by it"
