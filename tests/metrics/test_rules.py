"""The alerts, as Prometheus's own tool takes them; and that each leads to its runbook."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.metrics.prometheus import needs_prometheus

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops" / "prometheus"
ALERTS = re.findall(r"alert: (\w+)", (OPS / "alerts.yml").read_text())

#: Serves the whole catalogue, with a series of each metric: promtool has nothing to say of those without one.
CATALOGUE = """
from prometheus_client import generate_latest
from pipeline import metrics

for name, metric in vars(metrics).items():
    if name.isupper() and getattr(metric, "_labelnames", ()):
        metric.labels(*metric._labelnames)
print(generate_latest(metrics.CATALOGUE).decode(), end="")
"""


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=OPS, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_prometheus
def test_the_rules_and_the_configuration_are_sound() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


@needs_prometheus
def test_the_names_of_all_metrics_are_such_as_promtool_takes() -> None:
    command = [sys.executable, "-c", CATALOGUE]
    served = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    for name in re.findall(r"^# TYPE (\w+)", served, re.MULTILINE):
        assert re.search(rf"^{name}.* ", served, re.MULTILINE), "it has a series"
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=served, capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@needs_prometheus
def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", "tests.yml")


def test_each_alert_is_tested_firing_and_not_firing() -> None:
    cases = re.findall(r"alertname: (\w+)\n\s+exp_alerts:( \[\])?", (OPS / "tests.yml").read_text())
    assert {name for name, silent in cases if not silent} == set(ALERTS)
    assert {name for name, silent in cases if silent} == set(ALERTS)


def test_each_alert_has_a_runbook_under_its_name() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (\w+)$", page, re.MULTILINE)
    assert set(ALERTS) <= set(headings)
    runbooks = re.findall(r"runbook: docs/operations.md#(\w+)", (OPS / "alerts.yml").read_text())
    assert runbooks == [name.lower() for name in ALERTS]
