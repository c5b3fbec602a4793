"""What the pipeline's own processes count, read where they serve it for Prometheus."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

#: Seconds for one answer.
TIMEOUT = 3.0


def counted(urls: Sequence[str], name: str) -> float | None:
    """The sum of a counter's values over all processes and labels, now; None, never 0, where it was not measured.

    It was not where no process serves it, or one of those that should does not answer. `name` ends in `_total`.
    """
    served, found = False, 0.0
    for url in urls:
        text = _read(url)
        if text is None:
            return None
        for family in text_string_to_metric_families(text):
            if family.name == name.removesuffix("_total"):
                served = True  # a counter with labels has no sample before it counts
                found += sum(sample.value for sample in family.samples if sample.name == name)
    return found if served else None


def _read(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - the operator's own URL
            return str(answer.read().decode())
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
