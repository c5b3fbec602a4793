"""What an object makes once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.once import once


class Maker:
    def __init__(self, threads: int = 1) -> None:
        self.all_here = threading.Barrier(threads)
        self.made: list[object] = []

    @once
    def thing(self) -> object:
        """What is made."""
        # whoever came second, and did not wait, would come here, too, before the first is done
        threading.Event().wait(0.05)
        self.made.append(object())
        return self.made[-1]

    def ask(self) -> object:
        self.all_here.wait(30)
        return self.thing


def test_threads_that_come_first_together_get_the_same_one() -> None:
    maker = Maker(8)
    with ThreadPoolExecutor(8) as threads:
        found = [one.result(30) for one in [threads.submit(maker.ask) for _ in range(8)]]
    assert maker.made == [found[0]]
    assert set(found) == {found[0]}


def test_each_object_has_its_own_and_none_before_it_is_asked() -> None:
    one, other = Maker(), Maker()
    assert "thing" not in one.__dict__
    assert one.thing is one.thing is not other.thing
    assert Maker.thing.__doc__ == "What is made."


def test_what_failed_to_be_made_is_tried_again() -> None:
    class Failing:
        tries = 0

        @once
        def thing(self) -> int:
            self.tries += 1
            return 1 // (self.tries - 1)

    failing = Failing()
    with pytest.raises(ZeroDivisionError):
        _ = failing.thing
    assert failing.thing == 1
