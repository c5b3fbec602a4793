"""The load scenarios, on a stack of their own: `pytest tests/stress_test_concurrent.py -v -m stress`.

Not among the tests that a plain `pytest` finds: they want the machine to themselves.
"""

from __future__ import annotations

import os

import pytest

from stress.conclude import conclude
from stress.report.figures import Report
from stress.report.text import text
from stress.run import enough_processes, execute
from stress.scenarios import SCENARIOS
from stress.target import embedded

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]


def run(name: str) -> Report:
    """Run a scenario; it fails where one of its thresholds does, and shows its report."""
    plan = enough_processes(SCENARIOS[name], os.cpu_count() or 1)
    with embedded(plan, report=lambda _: None) as target:
        report = conclude(execute(plan, target))
    print(text(report))  # noqa: T201 - pytest shows it, with -s or with a failure
    assert report.passed, text(report)
    return report


def test_stress_10_concurrent_users() -> None:
    assert run("10_users").requests.total == 50


def test_stress_50_concurrent_users() -> None:
    assert run("50_users").requests.total == 150


def test_stress_100_concurrent_users() -> None:
    assert run("100_users").requests.total == 200


def test_stress_sustained() -> None:
    report = run("sustained")
    assert report.requests.total == 500
    assert report.memory is not None
    assert len(report.memory.batches) == 5


def test_stress_rapid_fire() -> None:
    assert run("rapid_fire").requests.total == 100
