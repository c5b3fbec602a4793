"""What a chaos run that could not be made says."""

from __future__ import annotations

import pytest

from stress.chaos import __main__ as chaos
from stress.load.senders import SenderLost


def test_a_sender_that_was_lost_is_told_in_lines_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(_: object) -> None:
        fault = SenderLost("a sender ended with status -9")
        fault.add_note("what it wrote last")
        raise fault

    monkeypatch.setattr(chaos, "run", lose)
    assert chaos.main(["--faults", "storm_500"], "chaos") == 1
    assert capsys.readouterr().err.splitlines() == ["chaos: a sender ended with status -9", "what it wrote last"]
