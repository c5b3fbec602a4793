"""What is large goes to Postgres in few at a time: together it would take longer than a statement may."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import ProgramLimitExceeded, QueryCanceled

from pipeline import Client, Handle
from pipeline.client import acceptance
from pipeline.schemas import Message
from pipeline.store.ledger import Claim, Ending, RepeatableEnd, accept, claim
from pipeline.worker import ledger_desk
from tests.faults.test_lost_replies import Bench, answer_to, bench
from tests.fleet import Fleet
from tests.servers import eventually

__all__ = ["bench"]

#: Seconds.
PATIENCE = 60.0

MEGABYTE = 1024 * 1024


def test_large_answers_are_kept_in_batches_that_postgres_takes_in_time(
    fleet: Fleet, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    def told(database: Any, endings: Sequence[Ending], **options: Any) -> RepeatableEnd:
        batches.append(len(endings))
        return RepeatableEnd(database, endings, **options)

    monkeypatch.setattr(ledger_desk, "RepeatableEnd", told)
    claims = [claim for n in range(6) if (claim := bench.claim(fleet.ask(conversation_id=f"c{n}", user_id=f"u{n}")))]
    large = (Message("user", "?"), Message("assistant", "x" * 3 * MEGABYTE))
    others_wait = threading.Event()
    bench.database.then = (lambda: others_wait.wait(PATIENCE),)
    with ThreadPoolExecutor(len(claims)) as threads:
        first = threads.submit(bench.desk.end, answer_to(claims[0]))
        eventually(lambda: batches == [1])
        rest = [threads.submit(bench.desk.end, answer_to(claim, messages=large)) for claim in claims[1:]]
        eventually(lambda: len(bench.desk._end_together._waiting) == len(rest))
        others_wait.set()
        assert all(one.result(PATIENCE) for one in (first, *rest))
    assert batches == [1, 2, 2, 1]


@pytest.mark.parametrize("fault", [QueryCanceled, ProgramLimitExceeded])  # what takes too long, and what is over 1 GB
def test_contexts_that_are_too_large_to_be_read_together_are_read_in_parts(
    fleet: Fleet, bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    batches: list[int] = []

    def hurried(database: Any, worker: UUID, ids: Sequence[UUID], **options: Any) -> list[Claim]:
        batches.append(len(ids))
        if len(ids) > 2:
            raise fault
        return claim(database, worker, ids, **options)

    monkeypatch.setattr(ledger_desk, "claim", hurried)
    handles = [UUID(fleet.ask(conversation_id=f"c{n}", user_id=f"u{n}").id) for n in range(5)]
    assert [one and one.id for one in bench.desk._claim(handles)] == handles
    assert batches == [5, 2, 3, 1, 2]


def test_many_large_texts_are_accepted_in_batches_that_postgres_takes_in_time(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []

    def told(database: Any, new: Any, **options: Any) -> Any:
        batches.append([len(one.text) for one in new])
        return accept(database, new, **options)

    monkeypatch.setattr(acceptance, "accept", told)
    fleet.may_leave_unfinished = True
    small, large = "Hello.", "x" * (MEGABYTE - 1)
    asked = [
        {"text": text, "user_id": "ada", "conversation_id": f"c{n}", "agent": "wait"}
        for n, text in enumerate([small, *[large] * 11, small])
    ]
    with Client(fleet.settings) as client:
        handles = [one for one in client.submit_many(asked) if isinstance(one, Handle)]
    assert [len(batch) for batch in batches] == [9, 4]
    lengths = dict(fleet.rows("SELECT id::text, length(text) FROM requests"))
    assert [lengths[one.id] for one in handles] == [len(one["text"]) for one in asked]
