"""A report says what was measured and what was not, in text and as a page, whatever a name may hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stress.integrity import Finding, Integrity
from stress.report.figures import FaultSpan, Grid, Mistake, Producer, Report, Requests
from stress.report.page import page
from stress.report.single import is_figure, single_figures
from stress.report.text import text
from stress.thresholds import Verdict
from tests.stress.page import Browser

NOTHING = Finding()
EMPTY_SERIES: dict[str, dict[str, list[float | None]]] = {
    "latency": {"t": [0.5, 1.5], "p50": [0.1, None], "p95": [0.2, None], "p99": [0.2, None], "answered": [2, 0]},
    "queue": {"t": [0.0, 1.0], "waiting": [None, None], "running": [None, None], "retrying": [None, None]},
    "memory": {"t": [0.0, 1.0], "memory": [None, None]},
    "cpu": {"t": [0.0, 1.0]},
}


@pytest.fixture
def bare() -> Report:
    """A report of a run of which hardly anything could be seen."""
    return Report(
        name="bare",
        began="2030-01-01T00:00:00+00:00",
        duration=2.0,
        machine="a machine",
        plan={"load": "closed", "provider": "none", "workers": 2, "set": {}},
        settings={},
        requests=Requests(0, 0, 0, {}, 0.0),
        latency=None,
        corrected=None,
        correction="none",
        accepting=None,
        queue_wait=None,
        run_time=None,
        attempts={},
        retries={},
        retry_success=None,
        republished=0,
        errors=(),
        depth_max=None,
        running_max=None,
        memory=None,
        cpu={},
        producer=Producer(1, None, None, None),
        breaker_trips=None,
        rate_limit_hits=None,
        integrity=Integrity(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),
        invariants=(),
        series=EMPTY_SERIES,
    )


def test_what_was_not_measured_says_so_everywhere(bare: Report) -> None:
    said = text(bare)
    for name in ("latency", "queue depth", "memory", "cpu", "breaker trips", "rate-limit hits"):
        line = next(line for line in said.splitlines() if line.startswith(name))
        assert "not measured" in line
    assert single_figures(bare)["memory_growth"] is None
    assert "not measured" in page(bare)


def test_every_figure_has_a_name_that_thresholds_may_use(bare: Report) -> None:
    assert all(map(is_figure, single_figures(bare)))


def test_a_table_of_faults_and_their_spans_are_shown(bare: Report) -> None:
    grid = Grid("Faults", ("fault", "lost", "recovered after"), [("worker killed", 0, 12.5), ("disk full", None, None)])
    shown = replace(bare, grids=[grid], faults=[FaultSpan("worker killed", 0.5, 1.0)])
    assert "worker killed  0     12.5" in text(shown)
    assert "disk full      -     -" in text(shown)
    assert "<td>worker killed</td>" in page(shown)


def test_a_page_holds_any_name_and_shades_what_was_broken(bare: Report, tmp_path: Path) -> None:
    awkward = '</script><script>throw 1</script> & "quotes" {{data}} <b>'
    errors = [Mistake("caller", awkward, 1, 0.0, 1.0)]
    verdicts = [Verdict("p95 < 2 s", None, passed=False)]
    shown = replace(bare, name=awkward, errors=errors, verdicts=verdicts, faults=[FaultSpan(awkward, 0.5, 1.0)])
    path = tmp_path / "page.html"
    path.write_text(page(shown))
    drawn = Browser(tmp_path).open(path)
    assert drawn.complaints == ""
    assert drawn.charts == {"latency": 3, "throughput": 1, "queue": 0, "memory": 0, "cpu": 0}
    assert drawn.text.count(awkward) >= 3
    assert path.read_text().count("throw 1") >= 3


def test_lines_of_the_text_are_never_longer_than_80_columns(bare: Report) -> None:
    errors = [Mistake("caller", "x" * 200, 10**6, 1e5, 1e6)] * 20
    shown = replace(bare, errors=errors, correction="a reason " * 40, invariants=["answered_once: not so"])
    lines = text(shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert "  and 8 more kinds" in lines
    assert any("answered_once" in line for line in lines)
