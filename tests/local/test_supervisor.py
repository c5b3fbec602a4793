"""What dies is started again, later each time, and somebody is told."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.local.errors import NotReady
from pipeline.local.process import Launch
from pipeline.local.program import Program, has_said
from pipeline.local.supervisor import FIRST_DELAY, MAX_DELAY, STEADY, Supervisor, Watched, how_it_ended
from pipeline.metrics import THREAD_FAULTS
from tests.servers import eventually

LASTS = "import signal; print('at work', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LASTS}"


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def supervisor(lines: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(lines.append)
    yield supervisor
    supervisor.stop()


def program(tmp_path: Path, code: str) -> Program:
    return Program("child", Launch([sys.executable, "-c", code], tmp_path / "child.log"), ready=has_said("at work"))


def test_a_killed_program_is_started_again_and_it_is_said(
    tmp_path: Path, supervisor: Supervisor, lines: list[str]
) -> None:
    child = program(tmp_path, LASTS)
    child.start()
    first = child.pid
    supervisor.watch([child])
    child.kill()
    eventually(lambda: any("is back" in line for line in lines))
    assert child.pid != first
    assert lines[0].startswith("child was ended by SIGKILL; starting it again in 0.5 s")
    supervisor.stop()
    child.stop()


def test_what_dies_is_not_started_before_its_time_and_what_cannot_be_started_is_tried_again_later(
    tmp_path: Path, supervisor: Supervisor, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []
    launch = Program.launch

    def launch_at_the_third_try(program: Program) -> None:
        starts.append(time.monotonic())
        if len(starts) < 3:
            raise FileNotFoundError("it is being installed anew")
        launch(program)

    child = program(tmp_path, LASTS)
    child.start()
    monkeypatch.setattr(Program, "launch", launch_at_the_third_try)
    supervisor.watch([child])
    killed = time.monotonic()
    child.kill()
    eventually(lambda: any("is back" in line for line in lines))
    waits = [after - before for before, after in pairwise([killed, *starts])]
    assert all(wait > 0.9 * FIRST_DELAY * times for wait, times in zip(waits, (1, 2, 4), strict=True)), waits
    assert "child could not be started (it is being installed anew); starting it again in 1 s" in lines[1]
    supervisor.stop()
    child.stop()


def test_what_goes_wrong_with_one_leaves_the_others_watched_and_is_counted(tmp_path: Path, lines: list[str]) -> None:
    def say(line: str) -> None:
        if not lines:
            lines.append("")
            raise BrokenPipeError
        lines.append(line)

    children = [program(tmp_path, LASTS) for _ in range(2)]
    supervisor = Supervisor(say)
    before = THREAD_FAULTS.labels("supervisor")._value.get()
    for child in children:
        child.start()
    supervisor.watch(children)
    for child in children:
        child.kill()
    eventually(lambda: all(child.alive for child in children), what="both are started again")
    assert THREAD_FAULTS.labels("supervisor")._value.get() == before + 1
    supervisor.stop()
    for child in children:
        child.stop()


def test_nothing_is_started_again_once_the_supervisor_has_stopped(tmp_path: Path, supervisor: Supervisor) -> None:
    child = program(tmp_path, LASTS)
    child.start()
    supervisor.watch([child])
    supervisor.stop()
    child.stop()
    assert not child.alive


def test_each_death_doubles_the_wait_up_to_its_cap_and_a_steady_life_forgets_them(tmp_path: Path) -> None:
    watched = Watched(program(tmp_path, LASTS), started=0.0)
    assert [watched.next_delay(now=1.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, MAX_DELAY, MAX_DELAY]
    assert watched.next_delay(now=STEADY + 1) == FIRST_DELAY


def test_a_program_that_ends_before_it_is_ready_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"(?s)child ended with status 3.*no luck today"):
        program(tmp_path, "print('no luck today'); raise SystemExit(3)").start()


def test_a_program_that_is_silent_is_given_up_after_its_time(tmp_path: Path) -> None:
    child = program(tmp_path, "import signal; signal.pause()")
    with pytest.raises(NotReady, match=r"not ready after 0.2 s"):
        child.start(timeout=0.2)
    child.stop()


def test_a_program_that_ignores_its_stop_signal_is_killed(tmp_path: Path) -> None:
    child = program(tmp_path, STUBBORN)
    child.start()
    child.stop(grace=0.2)
    assert child.exit_code == -signal.SIGKILL


def test_a_frozen_program_can_be_stopped(tmp_path: Path) -> None:
    child = program(tmp_path, LASTS)
    child.start()
    child.freeze()
    child.stop(grace=10)
    assert child.exit_code == -signal.SIGTERM


def test_an_end_is_told_in_words() -> None:
    assert how_it_ended(1) == "ended with status 1"
    assert how_it_ended(-9) == "was ended by SIGKILL"
