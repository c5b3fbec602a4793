"""Answers that are too large to be read together are read in parts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import ProgramLimitExceeded, QueryCanceled

from pipeline.client import waiting
from pipeline.store.ledger import Outcome, outcomes
from tests.client.conftest import Connect
from tests.servers import eventually
from tests.store.desk import Desk, answered


@pytest.mark.parametrize("fault", [QueryCanceled, ProgramLimitExceeded])  # what takes too long, and what is over 1 GB
def test_each_waiter_has_its_answer_though_all_together_are_too_large(
    connect: Connect, desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    batches: list[int] = []

    def hurried(database: Any, ids: Sequence[UUID]) -> list[Outcome]:
        batches.append(len(ids))
        if len(ids) > 2:
            raise fault
        return outcomes(database, ids)

    client = connect(outcome_poll=600)
    monkeypatch.setattr(waiting, "POLL_WITHOUT_BROKER", 600)
    handles = [client.submit("?", user_id=f"u{n}", conversation_id="c") for n in range(5)]
    with ThreadPoolExecutor(len(handles)) as threads:
        waits = [threads.submit(handle.result, 60) for handle in handles]
        eventually(lambda: len(client._waiting._waiting) == len(handles))
        eventually(lambda: not client._waiting._wanted)
        desk.end(*(answered(desk.claim_one(UUID(handle.id)), f"answer {n}") for n, handle in enumerate(handles)))
        monkeypatch.setattr(waiting, "outcomes", hurried)
        client._waiting.look_again()
        assert [one.result(60).text for one in waits] == [f"answer {n}" for n in range(5)]
    assert batches[0] == 5
    assert sorted(batches[1:]) == [1, 2, 2, 3]
