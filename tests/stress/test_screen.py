"""What is seen of a run while it goes on."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console
from rich.live import Live

from pipeline.store.database import Database
from stress import screen
from stress.load.record import Record
from stress.plan import Closed, Open, Plan, Stage
from stress.run import Run
from stress.screen import Board, Lines, share_done, state
from stress.target import Target


def run_of(plan: Plan) -> Run:
    """A run that has begun four seconds ago, and has an answer and a refusal. Nothing of it is there yet to look at."""
    run = Run(plan, cast(Target, SimpleNamespace(workers=lambda: None)), cast(Database, None))
    run.start = time.monotonic() - 4
    run.recorder.hear([Record(1, 1, 1, 2, "succeeded", "a"), Record(1, 1, None, 2, "refused", None, "QueueFull")])
    return run


def test_progress_is_counted_where_the_number_is_known_and_timed_where_it_is_not() -> None:
    assert share_done(run_of(Plan("closed", Closed(users=2, requests=4)))) == 0.25
    assert share_done(run_of(Plan("open", Open((Stage(2, 10, 10),))))) == 0.1
    assert share_done(run_of(Plan("long", Closed(users=2, duration=16)))) == pytest.approx(0.25, abs=0.1)


def test_what_could_not_be_looked_at_is_no_0() -> None:
    shown = state(run_of(Plan("any", Closed())))
    assert (shown["answered"], shown["failed"]) == ("1", "1")
    assert (shown["waiting"], shown["memory"]) == ("unknown", "not measured")


def test_a_terminal_has_a_bar_and_the_state_in_place() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    run = run_of(Plan("closed", Closed(users=2, requests=4)))
    run.queue.last = {"waiting": 1234, "running": 5}
    with Live(console=console, auto_refresh=False) as live:
        board = Board(console, live)
        board.say("Starting postgres")
        board.show(run)
        live.refresh()
    shown = out.getvalue()
    for word in ("Starting postgres", "25%", "1234", "waiting", "answered"):
        assert word in shown


def test_elsewhere_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    lines, run = Lines(Console(file=out, width=200)), run_of(Plan("closed", Closed(users=2, requests=4)))
    lines.show(run)
    assert out.getvalue() == ""
    monkeypatch.setattr(screen, "LINE_EVERY", 0)
    lines.show(run)
    assert "answered 1, failed 1" in out.getvalue()
