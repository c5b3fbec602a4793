"""A real Prometheus that scrapes a test's processes every second, with our alerts in a hurry."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.error import URLError

import pytest

from pipeline.local import process, roster
from pipeline.local.process import Launch
from tests.servers import eventually

Test = TypeVar("Test", bound=Callable[..., None])

ALERTS = Path(__file__).resolve().parents[2] / "ops" / "prometheus" / "alerts.yml"

MISSING = shutil.which("prometheus") is None or shutil.which("promtool") is None


def needs_prometheus(test: Test) -> Test:
    """For a test that starts the server or asks promtool."""
    skips = pytest.mark.skipif(MISSING, reason="Debian's package prometheus is not installed")
    marked: Test = pytest.mark.prometheus(skips(test))
    return marked


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as Prometheus knows it. `state` is `inactive`, `pending` or `firing`."""

    name: str
    query: str
    state: str


class Api:
    """What a Prometheus at that URL answers."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What an expression gives now: the labels and the value of each series."""
        found = self._get("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def alerts(self) -> dict[str, Alert]:
        """All of ours, by name."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: Alert(rule["name"], rule["query"], rule["state"]) for rule in rules}

    def targets(self) -> dict[str, list[str]]:
        """How those that are scraped are, `up` or not, by job."""
        found: dict[str, list[str]] = {}
        for one in self._get("targets")["activeTargets"]:
            found.setdefault(one["labels"]["job"], []).append(one["health"])
        return found

    def range(self, expression: str, *, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """What it gave over a while."""
        found = self._get("query_range", query=expression, start=str(start), end=str(end), step=str(step))["result"]
        assert isinstance(found, list)
        return found

    def _get(self, verb: str, **given: str) -> Any:
        url = f"{self._url}/api/v1/{verb}?{urllib.parse.urlencode(given)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)["data"]


class Prometheus(Api):
    """A server of its own, which runs within `with`. `targets` are the processes' URLs, by job."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]]) -> None:
        self._folder = folder / "prometheus"
        self._folder.mkdir()
        self._address = f"127.0.0.1:{roster.free_port()}"
        super().__init__(f"http://{self._address}")
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [urllib.parse.urlsplit(url).netloc for url in urls]}]}
            for job, urls in targets.items()
        ]
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {"global": every, "rule_files": ["alerts.yml"], "scrape_configs": jobs}
        (self._folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML, too
        hurried = re.sub(r"for: \w+", "for: 1s", ALERTS.read_text())
        (self._folder / "alerts.yml").write_text(hurried)

    def __enter__(self) -> Self:
        command = [
            *(shutil.which("prometheus") or "prometheus", f"--web.listen-address={self._address}"),
            *(f"--config.file={self._folder}/prometheus.yml", f"--storage.tsdb.path={self._folder}/data"),
        ]
        self._process = process.spawn(Launch(command, self._folder / "log"))
        eventually(self._is_ready, 60, what="Prometheus is ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as response:
                return bool(response.status == 200)
        except (URLError, ConnectionError):
            return False
