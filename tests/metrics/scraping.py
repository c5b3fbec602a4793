"""A scraper as Prometheus is one: it remembers each series of each target as it saw it last, ended targets included."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from pipeline.local import process
from pipeline.local.process import Launch
from pipeline.serving import SCRAPER
from tests.fleet import READY, Fleet, Worker
from tests.servers import eventually

#: A series' name and labels -> its value.
Samples: TypeAlias = "dict[tuple[str, frozenset[tuple[str, str]]], float]"

SERVED = re.compile(r"metrics_served.*url='?\"?(http://[^\s'\"]+)")


def fetch(url: str, *, seen: bool = True) -> Samples:
    """What is served there now. With `seen`, as a scraper asks."""
    request = urllib.request.Request(url, headers={SCRAPER: "10"} if seen else {})
    with urllib.request.urlopen(request, timeout=30) as response:
        return parse(response.read().decode())


def parse(served: str) -> Samples:
    """The series in what was served."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(served)
        for sample in family.samples
    }


def total(samples: Samples, name: str, /, **labels: str) -> float:
    """The sum of the series of that name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, given), value in samples.items() if found == name and wanted <= given)


def by_label(samples: Samples, name: str, label: str) -> dict[str, float]:
    """The sums of the series of that name, by one of their labels."""
    sums: defaultdict[str, float] = defaultdict(float)
    for (found, given), value in samples.items():
        if found == name:
            sums[dict(given)[label]] += value
    return dict(sums)


class Scraper:
    """Remembers what it saw last of every target."""

    def __init__(self) -> None:
        self._last: dict[str, Samples] = {}

    def scrape(self, *urls: str) -> None:
        """Look at these targets. One that is gone stays as it was."""
        for url in urls:
            try:
                self._last.setdefault(url, {}).update(fetch(url))
            except OSError:
                continue

    def remember(self, target: str, served: str) -> None:
        """What a target said that is gone by now."""
        self._last[target] = parse(served)

    @property
    def samples(self) -> Samples:
        """The sum over all targets there ever were."""
        sums: defaultdict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)
        for samples in self._last.values():
            for series, value in samples.items():
                sums[series] += value
        return dict(sums)


def url_of(fleet: Fleet, worker: Worker) -> str:
    """Where a worker serves its metrics."""
    found = eventually(lambda: SERVED.search(fleet.log(worker)), READY, what="the worker serves its metrics")
    assert found
    return found.group(1)


class ExporterProcess:
    """`pipeline exporter` for a fleet, between `start` and `stop`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._log = fleet.folder / "exporter.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it; returns its URL."""
        command = [sys.executable, "-m", "pipeline", "exporter", "--port", "0"]
        start = self._log.stat().st_size if self._log.exists() else 0
        self._process = process.spawn(Launch(command, self._log, self._fleet.environment))
        found = eventually(lambda: re.search(r"http://\S+", _from(self._log, start)), READY, what="the exporter serves")
        assert found
        return found.group(0)

    def stop(self) -> None:
        """Have it stop in order."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(60) == 0, self._log.read_text()
            self._process = None

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(60)


def _from(log: Path, start: int) -> str:
    return log.read_text()[start:]
