"""Replays: what ended without an answer is asked once more, at its session's tail, one live replay an original."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from pipeline.schemas import Message, Priority, Status
from pipeline.store.database import Database
from pipeline.store.invariants import check
from pipeline.store.ledger import Accepted, Publication
from pipeline.store.ledger.replay import NotReplayed, Replay, replay
from tests.store.desk import Desk, Sql, answered, count, ending, new, row, violations


def again(desk: Desk, *originals: UUID) -> tuple[list[Accepted | NotReplayed], list[Publication]]:
    replays = [Replay(original, uuid4(), "there", b"r" * 32) for original in originals]
    return replay(desk.database, replays, concurrency=desk.concurrency)


def ended(desk: Desk, status: Status = Status.failed, **request: Any) -> UUID:
    claimed = desk.running(**request)
    desk.end(ending(claimed, status, reason="http_503" if status == Status.failed else None))
    return claimed.id


def why_not(desk: Desk, original: UUID) -> str | None:
    ((result,), publications) = again(desk, original)
    assert isinstance(result, NotReplayed)
    assert publications == []
    return result.why


def test_a_replay_is_the_same_request_once_more(desk: Desk, sql: Sql) -> None:
    asked: dict[str, Any] = {"text": "A secret?", "agent": "citations", "priority": Priority.urgent}
    asked |= {"metadata": {"a": [1, "ü"]}, "deadline": 99.0}
    original = ended(desk, **asked, idempotency_key="k", content_hash=b"h", timeout=7.5, max_attempts=9)
    sql.execute(
        "UPDATE requests SET deadline = deadline - interval '1 hour', accepted_at = accepted_at - interval '1 h'"
    )
    ((result,), (publication,)) = again(desk, original)
    assert isinstance(result, Accepted)
    assert (publication.id, publication.queue) == (result.id, Priority.urgent)
    same = "text, agent, priority, metadata, timeout, max_attempts, user_id, session_id"
    assert row(sql, result.id, same) == row(sql, original, same)
    assert row(sql, result.id, "retry_of, origin, stream_key, idempotency_key, position, status, fence") == (
        original, "there", b"r" * 32, None, 2, "queued", 0,
    )  # fmt: skip
    assert row(sql, result.id, "extract(epoch FROM deadline - now())::int BETWEEN 90 AND 99") == (True,)
    assert row(sql, original, "status, text") == ("failed", "A secret?")
    claimed = desk.claim_one(result.id)
    desk.end(answered(claimed))
    assert (violations(sql), check(desk.database)) == ([], [])


@pytest.mark.parametrize("status", [Status.failed, Status.expired, Status.cancelled])
def test_whatever_ended_without_an_answer_may_be_replayed(desk: Desk, status: Status) -> None:
    ((result,), _) = again(desk, ended(desk, status))
    assert isinstance(result, Accepted)


def test_a_replay_stands_at_its_sessions_tail(desk: Desk, sql: Sql) -> None:
    original = ended(desk)
    desk.running()
    desk.accept(new())
    ((result,), publications) = again(desk, original)
    assert isinstance(result, Accepted)
    assert publications == []
    assert row(sql, result.id, "position, head") == (4, False)
    assert violations(sql) == []


def test_an_original_has_one_live_replay(desk: Desk, sql: Sql) -> None:
    original = ended(desk)
    ((first,), _) = again(desk, original)
    assert isinstance(first, Accepted)
    assert why_not(desk, original) == f"its replay {first.id} has no outcome yet"
    desk.end(ending(desk.claim_one(first.id), Status.failed, reason="http_503"))
    ((second,), _) = again(desk, original)
    assert isinstance(second, Accepted)
    assert count(sql, "requests") == 3


def test_two_who_replay_at_once_make_one_replay(ledger_url: str, desk: Desk, sql: Sql) -> None:
    originals = [ended(desk, conversation=f"c{number}") for number in range(8)]
    others = [Database(ledger_url, size=1) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        results = threads.map(lambda database: again(Desk(database), *originals)[0], others)
        made = [one for some in results for one in some if isinstance(one, Accepted)]
    for one in others:
        one.close()
    assert len(made) == len(originals) == count(sql, "requests WHERE retry_of IS NOT NULL")


def test_what_is_accepted_twice_as_the_same_replay_is_one(desk: Desk, sql: Sql) -> None:
    """As after a commit whose answer was lost."""
    one = Replay(ended(desk), uuid4(), "there", b"r" * 32)
    for _ in range(2):
        ((result,), _) = replay(desk.database, [one], concurrency=3)
        assert isinstance(result, Accepted)
        assert result.id == one.id
    assert count(sql, "requests") == 2


def test_what_is_answered_goes_on_or_is_not_known_has_no_replay(desk: Desk) -> None:
    claimed = desk.running()
    assert why_not(desk, claimed.id) == "it has no outcome yet, but is running"
    desk.end(answered(claimed))
    assert why_not(desk, claimed.id) == "it succeeded"
    assert why_not(desk, uuid4()) is None


def test_what_was_interrupted_is_in_the_history_and_has_no_replay(desk: Desk) -> None:
    claimed = desk.running()
    desk.accept(new(on_busy="interrupt"))
    messages = (Message("user", claimed.text, metadata={"interrupted": True}),)
    desk.end(ending(claimed, Status.cancelled, reason="interrupted", messages=messages))
    assert why_not(desk, claimed.id) == "it was interrupted, and what was said is in the history"


def test_of_many_each_is_judged_for_itself(desk: Desk, sql: Sql) -> None:
    good = [ended(desk, user=f"u{number % 3}", conversation=f"c{number}") for number in range(9)]
    running = desk.running(user="eve")
    results, _ = again(desk, *good[:5], running.id, uuid4(), *good[5:])
    assert [isinstance(one, Accepted) for one in results] == [True] * 5 + [False] * 2 + [True] * 4
    assert violations(sql) == []
