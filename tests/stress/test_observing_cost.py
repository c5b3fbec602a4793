from __future__ import annotations

import re
import subprocess
import sys

import pytest

from stress.overhead.fleet import ROOT

#: A part's name, its microseconds, its ratio to counting alone.
PART = re.compile(r"^(\S.*?) +(-?\d+\.\d) µs  \(.+\)(?: +(\d+\.\d+) times counting alone)?$", re.MULTILINE)


@pytest.fixture(scope="module")
def said() -> str:
    command = [sys.executable, "-m", "stress.observing_cost", "--rounds", "1000", "--repeat", "3", "--no-bars"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def parts(said: str) -> dict[str, tuple[float, float]]:
    return {name: (float(cost), float(ratio or 1)) for name, cost, ratio in PART.findall(said)}


def test_counting_is_held_against_its_bar_and_costs_less_than_the_lines_that_celery_itself_writes(
    said: str, parts: dict[str, tuple[float, float]]
) -> None:
    assert re.search(r"^counting: \d+\.\d µs, the bar is 50 µs$", said, re.MULTILINE)
    assert parts["counting"] < parts["Celery's own lines as JSON"]


def test_logs_and_traces_are_measured_apart_each_against_counting_alone(parts: dict[str, tuple[float, float]]) -> None:
    assert parts.keys() == {
        *("counting", "logs as JSON", "logs on the console", "logs below the level", "Celery's own lines as JSON"),
        *("traces off", "traces on"),
    }
    for dear, cheap in (("logs as JSON", "logs below the level"), ("traces on", "traces off")):
        assert parts[dear] > parts[cheap], "in microseconds, and then in its ratio"
        assert parts[dear][1] > parts[cheap][1]
