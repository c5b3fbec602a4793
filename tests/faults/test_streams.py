"""A stream is followed through faults: whatever was lost on the way, the joined text is the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipeline import Handle
from pipeline.stream import Text
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker


def ask(fleet: Fleet) -> Handle:
    """Twenty words, of which the last one waits until the fault is over."""
    return fleet.ask(agent="words_up_to_the_gate", count=20, seconds=0.05)


def follow(fleet: Fleet, handle: Handle, fault: Callable[[], None]) -> list[Text]:
    """All texts of a stream, in the middle of which `fault` strikes."""
    texts: Iterator[Text] = handle.stream(PATIENCE)
    heard = [next(texts), next(texts)]
    fault()
    fleet.open_gate()
    return [*heard, *texts]


def joined(texts: list[Text]) -> str:
    """What a reader who minds `restarted` has in the end."""
    begins = max((index for index, text in enumerate(texts) if text.restarted), default=0)
    return "".join(texts[begins:])


def test_a_stream_through_a_killed_worker_restarts_and_is_the_answer(fleet: Fleet) -> None:
    fleet.start(2)
    handle = ask(fleet)
    texts = follow(fleet, handle, lambda: fleet.kill(fleet.worker_of(handle)))
    answer = handle.result(PATIENCE)
    assert answer.attempts == 2
    assert [text.restarted for text in texts].count(True) == 1
    assert joined(texts) == answer.text == "".join(f"2.{number} " for number in range(20))


@pytest.mark.parametrize("fault", ["flush", "restart"])
def test_a_stream_through_a_broker_that_forgets_is_the_answer(fault: str, fleet: Fleet, broker: Broker) -> None:
    fleet.start(1)
    handle = ask(fleet)
    forget = {"flush": broker.flush, "restart": lambda: broker.restart(keep_data=False)}[fault]
    texts = follow(fleet, handle, forget)
    answer = handle.result(PATIENCE)
    assert answer.attempts == 1
    assert joined(texts) == answer.text == "".join(f"1.{number} " for number in range(20))
