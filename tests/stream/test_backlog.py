from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stream.backlog import FEED_LIMIT, Backlog, Run

ROOM = FEED_LIMIT


@given(st.lists(st.one_of(st.text(min_size=1, max_size=4), st.sampled_from(["take", "fail", "full"]))))
def test_what_is_taken_stands_at_its_true_offset_and_nothing_is_taken_twice(steps: list[str]) -> None:
    backlog, written, reached = Backlog(), "", 0
    room = ROOM
    for step in [*steps, "take"]:
        if step == "full":
            room = 0
        elif step in ("take", "fail"):
            run = backlog.take()
            assert written[run.offset : run.offset + len(run.text)] == run.text
            assert run.offset >= reached
            if step == "fail":
                backlog.give_back(run)
            else:
                reached, room = run.offset + len(run.text), ROOM
        else:
            backlog.add(step, room)
            written += step


def test_after_text_was_dropped_nothing_is_joined_to_what_waits() -> None:
    backlog = Backlog()
    assert backlog.add("kept", ROOM)
    assert not backlog.add("dropped", 3)
    assert not backlog.add("x", ROOM)
    assert backlog.take() == Run(0, "kept")
    assert backlog.add("later", ROOM)
    assert backlog.take() == Run(12, "later")


def test_a_run_that_failed_goes_in_front_of_what_came_meanwhile() -> None:
    backlog = Backlog()
    backlog.add("ab", ROOM)
    run = backlog.take()
    backlog.add("cd", ROOM)
    assert backlog.give_back(run)
    assert (backlog.size, backlog.take()) == (4, Run(0, "abcd"))


def test_a_run_that_failed_is_not_taken_back_over_a_hole() -> None:
    backlog = Backlog()
    backlog.add("ab", ROOM)
    run = backlog.take()
    backlog.add("lost", 0)
    backlog.add("cd", ROOM)
    assert not backlog.give_back(run)
    assert backlog.take() == Run(6, "cd")


def test_a_feed_holds_no_more_than_its_limit() -> None:
    backlog = Backlog()
    assert backlog.add("x" * FEED_LIMIT, 2 * FEED_LIMIT)
    assert not backlog.add("x", FEED_LIMIT)
    assert backlog.size == FEED_LIMIT
