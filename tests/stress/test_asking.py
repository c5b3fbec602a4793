"""What a sender takes for its own delay, and what for the pipeline's."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import Client
from pipeline.store.database import Database
from stress.conclude import _producer
from stress.load import asking
from stress.load.asking import Asker, Question
from stress.load.record import Record
from stress.plan import Open, Plan, Stage
from stress.run import Run
from stress.target import Target
from tests.servers import eventually


class Gate:
    """A client that accepts nothing before it is opened, and has every answer at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.at_it: list[str] = []

    def submit(self, text: str, **_: Any) -> Any:
        self.at_it.append(text)
        self.open.wait(60)

        async def answer(_: float) -> Any:
            return SimpleNamespace(attempts=1)

        return SimpleNamespace(id=text, aresult=answer)


def test_a_request_is_submitted_when_a_thread_has_come_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SUBMITTERS", 1)
    gate = Gate()
    asker = Asker(cast(Client, gate), "chat", 60)

    async def play() -> tuple[Record, Record]:
        due = time.monotonic()
        both = [asyncio.create_task(asker.ask(Question("ada", "talk", number), due)) for number in (1, 2)]
        await asyncio.to_thread(eventually, lambda: gate.at_it, what="one is at the gate")
        gate.open.set()
        first, second = await asyncio.gather(*both)
        return first, second

    first, second = asyncio.run(play())
    asker.close()
    assert first.accepted is not None
    assert second.accepted is not None
    assert first.submitted < first.accepted <= second.submitted <= second.accepted
    assert second.sent < first.accepted
    assert second.waited >= first.accepted - second.sent


def test_a_producer_whose_threads_were_all_taken_was_the_limit() -> None:
    plan = Plan("waits", Open((Stage(1, 1, 1),)))
    run = Run(plan, cast(Target, SimpleNamespace(workers=lambda: None)), cast(Database, None))
    run.recorder.hear([Record(1.0, 1.0, 5.5, 6.0, "succeeded", "a", waited=4.0)])
    limit = _producer(run, 5.0).limit
    assert limit is not None
    assert limit.startswith("it sent 4.0")
    assert "threads of a process that submit were all taken: take more --processes" in limit
