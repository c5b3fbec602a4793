"""What makes no sense on the chaos run's command line is refused by its name, before anything is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stress.chaos.options import parse
from stress.plan import Open


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--minutes", "-5"), "--minutes: -5.0 is no number of at least 0"),
        (("--minutes", "nan"), "--minutes: nan"),
        (("--minutes", "inf"), "--minutes: inf"),
        (("--rate", "0.5"), "--rate: 0.5 is no number of at least 1"),
        (("--rate", "nan"), "--rate: nan"),
        (("--workers", "0"), "--workers: 0"),
        (("--output", "/nowhere/chaos.json"), "--output /nowhere/chaos.json: there is no folder /nowhere"),
        (("--report", "/nowhere/chaos.html"), "--report /nowhere/chaos.html: there is no folder /nowhere"),
        (("--report", "/"), "--report /: is a folder"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(
    given: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        parse(list(given), "chaos")
    assert refusal.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which root, too, makes no file")
@pytest.mark.parametrize("option", ["--output", "--report"])
def test_a_result_that_could_not_be_written_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([option, "/proc/chaos"], "chaos")
    assert f"{option} /proc/chaos: cannot be written (" in capsys.readouterr().err


def test_the_look_at_whether_a_result_can_be_written_leaves_no_file_and_what_one_holds(tmp_path: Path) -> None:
    new, old = tmp_path / "chaos.json", tmp_path / "chaos.html"
    old.write_text("an earlier result")
    asked = parse(["--minutes", "0", "--output", str(new), "--report", str(old)], "chaos")
    assert asked is not None
    assert asked.seconds == 0
    assert not new.exists()
    assert old.read_text() == "an earlier result"


def test_users_may_interrupt_themselves_while_faults_strike() -> None:
    made = parse(["--users", "50", "--on-busy", "interrupt"], "chaos")
    assert made is not None
    assert isinstance(made.plan.load, Open)
    assert (made.plan.load.users, made.plan.load.on_busy) == (50, "interrupt")
