"""The senders of a run are waited for together."""

from __future__ import annotations

from typing import Any, cast

import pytest

from stress.load.senders import SenderLost, Senders


class Sending:
    """One that ends at its so-manieth look, or is lost at it."""

    def __init__(self, looks: int, *, lost: bool = False) -> None:
        self.looks, self.lost = looks, lost

    def await_word(self, _: float) -> bool:
        self.looks -= 1
        if self.lost and self.looks <= 0:
            raise SenderLost("a sender ended with status 1")
        return self.looks <= 0


def join(*senders: Sending, most: int = 100) -> int:
    """Returns how often it ticked."""
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        assert ticks < most, "nobody looks at the others"

    Senders(cast("Any", senders)).join(tick=tick, every=0.0)
    return ticks


def test_the_loss_of_any_sender_is_noticed_while_the_others_still_send() -> None:
    with pytest.raises(SenderLost):
        join(Sending(1000), Sending(3, lost=True))


def test_all_are_waited_for_whichever_ends_first() -> None:
    assert join(Sending(1), Sending(1)) == 0
    assert join(Sending(5), Sending(2)) == 4
    assert join(Sending(2), Sending(5)) == 4
