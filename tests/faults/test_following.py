"""A client follows an answer as it comes, and the worker that says it dies."""

from __future__ import annotations

from tests.fleet import PATIENCE, Fleet


def test_who_follows_an_answer_through_a_killed_worker_sees_it_begin_anew_and_ends_with_the_answer(
    fleet: Fleet,
) -> None:
    fleet.start(2)
    handle = fleet.ask(agent="words_up_to_the_gate", count=30, seconds=0.02)
    shown: list[str] = []
    restarts = 0
    for text in handle.stream(PATIENCE):
        if text.restarted:
            restarts += 1
            shown = []
        if not restarts and not shown:
            fleet.kill(fleet.worker_of(handle))
            fleet.open_gate()
        shown.append(text)
    answer = handle.result(PATIENCE)
    assert restarts == 1
    assert "".join(shown) == answer.text == "".join(f"2.{number} " for number in range(30))
    assert answer.attempts == 2
