"""What a process has counted and nobody has scraped when it ends: another process serves it.

Prometheus takes counters that end with their process as they were at the last scrape. What was counted between that
and the end would be lost at every restart, so it is handed on, and served by whoever adopts it. Only that: what has
been scraped stays in the series it was scraped in, and would count twice in another; and what was handed on is served
no more by whoever counted it, should that live on. The sum over all series, ended ones included, is then what was
counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.samples import Sample

#: A series: its name, and its labels in order.
Series = tuple[str, tuple[tuple[str, str], ...]]
Totals = dict[Series, float]

#: Only these add up over processes.
SUMMED = ("counter", "histogram")


class Estate:
    """A process's metrics as they are served, with what it has adopted, and how far they have been scraped.

    It is a collector: to be registered where a foreign server serves the process's metrics.
    """

    def __init__(self, source: Callable[[], Iterable[Metric]]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._adopted: Totals = {}
        self._seen: Totals = {}
        #: What was handed on.
        self._left: Totals = {}

    def collect(self) -> Iterable[Metric]:
        """What there is now, for a scraper: from here on it counts as seen."""
        return self.look(seen=True)

    def describe(self) -> Iterable[Metric]:
        """Nothing: whoever registers this would otherwise count as a scraper."""
        return ()

    def look(self, *, seen: bool) -> list[Metric]:
        """What there is now. `seen` says that whoever gets this keeps it."""
        with self._lock:
            families = list(self._source())
            if seen:
                self._seen.update(self._all(families))
            return [self._served(family) for family in families]

    def read_from(self, source: Callable[[], Iterable[Metric]]) -> None:
        """Take what was counted from somewhere else: not this process's memory alone."""
        with self._lock:
            self._source = source

    def adopt(self, totals: Totals) -> None:
        """Serve what another process has left."""
        with self._lock:
            _add(self._adopted, totals)

    def settle(self) -> Totals:
        """What nobody has seen yet, for another process to adopt. It counts as seen from here on."""
        with self._lock:
            now = self._all(self._source())
            changes = {series: value - self._seen.get(series, 0) for series, value in now.items()}
            unseen = {series: value for series, value in changes.items() if value}
            self._seen.update(now)
            _add(self._left, unseen)
        return unseen

    def unsettle(self, totals: Totals) -> None:
        """These could not be handed on: nobody has seen them after all."""
        with self._lock:
            given_back = {series: -value for series, value in totals.items()}
            _add(self._seen, given_back)
            _add(self._left, given_back)

    def values(self, label: str) -> set[str]:
        """All that this label says in what adds up, whether it is served or not."""
        with self._lock:
            series = {*_totals(self._source()), *self._adopted, *self._seen, *self._left}
        return {text for _, labels in series for name, text in labels if name == label}

    def relabel(self, label: str, old: str, new: str, remove: Callable[[], None]) -> None:
        """Serve the series that have `old` in this label under `new`; `remove` drops them from the source."""
        with self._lock:
            whole = self._all(self._source())
            remove()
            kept = (self._adopted, whole), *((one, dict(one)) for one in (self._seen, self._left))
            for totals, before in kept:
                for (name, labels), value in before.items():
                    if (label, old) in labels:
                        totals.pop((name, labels), None)
                        moved = (name, tuple(sorted({**dict(labels), label: new}.items())))
                        totals[moved] = totals.get(moved, 0) + value

    def _all(self, families: Iterable[Metric]) -> Totals:
        """What there is, adopted or counted here, whether or not it was handed on."""
        totals = dict(self._adopted)
        _add(totals, _totals(families))
        return totals

    def _served(self, family: Metric) -> Metric:
        """The family with what was adopted, without what was handed on."""
        if family.type not in SUMMED or not (self._adopted or self._left):
            return family
        served = Metric(family.name, family.documentation, family.type)
        own = {_series(sample): sample for sample in family.samples}
        others = [
            Sample(name, dict(labels), 0)
            for name, labels in self._adopted
            if (name, labels) not in own and _is_of(name, family)
        ]
        for sample in [*family.samples, *others]:
            series = _series(sample)
            value = sample.value + self._adopted.get(series, 0) - self._left.get(series, 0)
            served.samples.append(sample._replace(value=value))
        return served


def _add(totals: Totals, more: Totals) -> None:
    for series, value in more.items():
        totals[series] = totals.get(series, 0) + value


def _totals(families: Iterable[Metric]) -> Totals:
    return {
        _series(sample): sample.value
        for family in families
        if family.type in SUMMED
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _series(sample: Sample) -> Series:
    return sample.name, tuple(sorted(sample.labels.items()))


def _is_of(name: str, family: Metric) -> bool:
    suffixes = ("_total",) if family.type == "counter" else ("_bucket", "_count", "_sum")
    return name in [family.name + suffix for suffix in suffixes]
