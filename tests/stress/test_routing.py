from __future__ import annotations

import json
from pathlib import Path

import pytest

from stress.overhead.routing import main


def test_a_quick_run_measures_time_and_round_trips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    assert main(["--threads", "2", "4", "--calls", "5", "--no-bars", "--json", str(figures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(("pass", "FAIL")) for line in lines) == 4
    for measured in json.loads(figures.read_text()):
        assert measured["calls"] == 5 * measured["threads"]
        for what in ("inside", "working", "ping"):
            assert 0 < measured[what]["p50"] <= measured[what]["p99"]
        assert 0 < measured["round_trips"] <= 1.5
