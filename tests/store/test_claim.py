"""Claiming: of all that a request is delivered to, one worker at a time may answer it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from psycopg import ClientCursor

from pipeline.schemas import Message, Priority, Status
from pipeline.store.database import Database
from pipeline.store.ledger import Claim, claim
from pipeline.store.ledger.claim import CLAIM_AND_READ, whole_turns
from tests.store.desk import Desk, Sql, answered, ending, new, row


def test_a_claim_is_the_request_with_a_fence_and_what_is_left_of_its_time(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new(metadata={"a": 1}, deadline=100, timeout=40, priority=Priority.urgent))
    claimed = desk.claim_one(one.id)
    assert (claimed.attempt, claimed.max_attempts, claimed.position) == (1, 3, 1)
    assert (claimed.user_id, claimed.conversation_id, claimed.agent) == ("ada", "thesis", "chat")
    assert (claimed.text, claimed.metadata, claimed.origin) == (one.text, {"a": 1}, "here")
    assert (claimed.queue, claimed.publications, claimed.stream_key) == (0, 1, one.stream_key)
    assert claimed.run_left == pytest.approx(40, abs=0.01)
    assert 90 < claimed.deadline_left <= 100
    assert row(sql, one.id, "status, worker_id, fence") == ("running", desk.worker_id, claimed.fence)


def test_an_attempt_does_not_outlive_the_deadline(desk: Desk) -> None:
    desk.accept(one := new(deadline=20, timeout=300))
    claimed = desk.claim_one(one.id)
    assert claimed.run_left == pytest.approx(claimed.deadline_left, abs=0.001)


def test_what_runs_is_not_claimed_again(desk: Desk) -> None:
    claimed = desk.running()
    assert desk.claim(claimed.id) == []
    assert desk.claim(claimed.id, worker=desk.worker()) == []


def test_an_id_that_comes_twice_in_a_batch_is_claimed_once(desk: Desk) -> None:
    desk.accept(one := new())
    assert len(desk.claim(one.id, one.id)) == 1


def test_what_is_not_its_sessions_turn_is_not_claimed(desk: Desk) -> None:
    first, second = new(), new()
    desk.accept(first, second)
    assert [one.id for one in desk.claim(second.id, first.id)] == [first.id]


def test_a_head_may_be_claimed_before_it_is_marked_as_published(desk: Desk) -> None:
    """A message of an earlier publication that arrives late is as good as any."""
    for index in range(3):
        desk.running(conversation=f"c{index}")
    desk.accept(waiting := new(conversation="later"))
    assert desk.claim_one(waiting.id).queue == Priority.normal


@pytest.mark.parametrize("status", [Status.failed, Status.cancelled, Status.expired, Status.succeeded])
def test_what_has_ended_is_not_claimed(desk: Desk, status: Status) -> None:
    claimed = desk.running()
    desk.end(ending(claimed, status))
    assert desk.claim(claimed.id) == []


def test_an_unknown_id_is_no_claim(desk: Desk) -> None:
    assert desk.claim(uuid4()) == []
    assert desk.claim() == []


def test_a_retry_is_not_claimed_before_it_is_due(desk: Desk, sql: Sql) -> None:
    claimed = desk.running()
    desk.end(ending(claimed, Status.retrying, delay=60, countdown=True))
    assert desk.claim(claimed.id) == []
    sql.execute("UPDATE requests SET due_at = now() + interval '2 seconds'")
    assert desk.claim(claimed.id) == []
    sql.execute("UPDATE requests SET due_at = now()")
    again = desk.claim_one(claimed.id)
    assert again.fence > claimed.fence
    assert again.attempt == 2


def test_nothing_is_claimed_past_its_deadline(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new())
    sql.execute("UPDATE requests SET deadline = now()")
    assert desk.claim(one.id) == []


def test_nothing_is_claimed_when_no_attempt_is_left(desk: Desk, sql: Sql) -> None:
    desk.accept(one := new())
    sql.execute("UPDATE requests SET attempts = max_attempts")
    assert desk.claim(one.id) == []


def test_a_worker_whose_lease_is_over_claims_nothing(desk: Desk) -> None:
    desk.accept(one := new())
    assert desk.claim(one.id, worker=desk.worker(lease=-1)) == []
    assert desk.claim(one.id, worker=uuid4()) == []
    desk.claim_one(one.id)


def test_a_claim_whose_fate_is_unknown_is_made_anew_by_the_worker_that_has_it_and_by_no_other(desk: Desk) -> None:
    claimed = desk.running()

    def again(worker: UUID) -> list[Claim]:
        """As after a lost reply, by which time another worker may have the request."""
        lost = [claimed.id]
        return claim(desk.database, worker, lost, window=50, most_bytes=1_000_000, lost=lost)

    assert again(desk.worker()) == []
    (anew,) = again(desk.worker_id)
    assert (anew.attempt, anew.fence > claimed.fence) == (1, True)


def test_of_eight_workers_at_once_one_gets_each_request(ledger_url: str, desk: Desk) -> None:
    ids = [new(f"u{index}") for index in range(20)]
    desk.accept(*ids)
    database = Database(ledger_url, size=8, wait=60)
    barrier = Barrier(8)

    def race(_: int) -> list[UUID]:
        worker = Desk(database)
        barrier.wait(60)
        return [claimed.id for one in ids for claimed in worker.claim(one.id)]

    with ThreadPoolExecutor(8) as threads:
        claims = [id_ for got in threads.map(race, range(8)) for id_ in got]
    database.close()
    assert sorted(claims) == sorted(one.id for one in ids)


def test_a_claim_skips_what_another_holds_and_does_not_wait(ledger_url: str, desk: Desk, sql: Sql) -> None:
    one, other = new(), new("bob")
    desk.accept(one, other)
    with sql.transaction():
        sql.execute("SELECT FROM requests WHERE id = %s FOR UPDATE", [one.id])
        assert [claimed.id for claimed in desk.claim(one.id, other.id)] == [other.id]
    desk.claim_one(one.id)


# -- the context ------------------------------------------------------------------------------------------------------


def test_the_context_is_the_newest_messages_oldest_first(desk: Desk) -> None:
    desk.converse(turns=4)
    desk.converse(turns=1, conversation="another")
    desk.accept(one := new())
    context = desk.claim_one(one.id, window=4).context
    assert [(message.role, message.number) for message in context] == [
        ("user", 5), ("assistant", 6), ("user", 7), ("assistant", 8)
    ]  # fmt: skip


def test_a_message_comes_back_as_it_was_written(desk: Desk) -> None:
    called = Message("assistant", "", tool_calls=({"id": "1", "function": {"name": "f"}},), metadata={"nul": True})
    result = Message("tool", "42", tool_call_id="1")
    desk.end(answered(claimed := desk.running(), "It is 42.", called, result))
    desk.accept(one := new())
    question, first, second, answer = desk.claim_one(one.id).context
    assert (first.tool_calls, first.metadata) == (called.tool_calls, {"nul": True})
    assert (second.role, second.content, second.tool_call_id) == ("tool", "42", "1")
    assert (question.content, answer.content) == (claimed.text, "It is 42.")
    assert {message.request_id for message in (question, first, second, answer)} == {str(claimed.id)}


def test_a_tool_call_is_never_parted_from_its_result(desk: Desk) -> None:
    def use_a_tool() -> None:
        called = Message("assistant", "", tool_calls=({"id": "1"},))
        desk.end(answered(desk.running(), "It is 42.", called, Message("tool", "42", tool_call_id="1")))

    use_a_tool()
    use_a_tool()
    desk.accept(one := new())
    claimed = desk.claim_one(one.id, window=6)  # begins between the first call and its result
    assert [message.number for message in claimed.context] == [5, 6, 7, 8]
    desk.end(ending(claimed, Status.retrying))
    assert [message.number for message in desk.claim_one(one.id, window=8).context] == list(range(1, 9))


def test_a_context_begins_with_a_turn_or_with_the_history() -> None:
    greeting, hello = Message("assistant", "Good morning.", number=1), Message("user", "Hello.", number=2)
    assert whole_turns([greeting, hello]) == [greeting, hello]
    assert whole_turns([replace(greeting, number=7), hello]) == [hello]
    assert whole_turns([Message("tool", "a"), Message("assistant", "b")]) == []
    assert whole_turns([]) == []


def test_of_long_messages_the_newest_whole_turns_that_fit_are_the_context(desk: Desk) -> None:
    for answer in ("a" * 500, "b" * 900, "c" * 300):
        desk.end(answered(desk.running(), answer))
    desk.accept(one := new())
    everything = desk.claim_one(one.id).context
    assert [message.number for message in everything] == [1, 2, 3, 4, 5, 6]

    def fitting(most_bytes: int) -> list[int | None]:
        _put_back(desk, one.id)
        return [message.number for message in desk.claim_one(one.id, most_bytes=most_bytes).context]

    texts = [len(message.content.encode()) for message in everything]
    assert fitting(sum(texts)) == [1, 2, 3, 4, 5, 6]
    assert fitting(sum(texts) - 1) == [3, 4, 5, 6]
    assert fitting(sum(texts[3:])) == [5, 6]  # an answer without its question is none
    assert fitting(texts[-1]) == []


def test_calls_of_tools_and_their_notes_count_as_the_text_does(desk: Desk) -> None:
    called = Message("assistant", "", tool_calls=({"id": "1", "arguments": "x" * 500},), metadata={"note": "y" * 500})
    desk.end(answered(desk.running(), "It is 42.", called, Message("tool", "42", tool_call_id="1")))
    desk.accept(one := new())
    assert desk.claim_one(one.id, most_bytes=1000).context == []
    _put_back(desk, one.id)
    assert len(desk.claim_one(one.id, most_bytes=1200).context) == 4


def _put_back(desk: Desk, id_: UUID) -> None:
    with desk.database.connection() as connection:
        connection.execute("UPDATE requests SET status = 'queued', attempts = 0 WHERE id = %s", [id_])


def test_the_contexts_cost_does_not_grow_with_the_history(desk: Desk, sql: Sql) -> None:
    desk.converse()
    claims = []
    for conversation, length in (("short", 60), ("long", 6000)):
        claims.append(desk.running(conversation=conversation))
        sql.execute(
            "INSERT INTO messages (session_id, number, request_id, part, role, content) "
            "SELECT %s, number, gen_random_uuid(), 1, 'user', repeat('x', 200) FROM generate_series(1, %s) AS number",
            [claims[-1].session_id, length],
        )
    sql.execute("VACUUM ANALYZE messages")
    sql.execute("UPDATE requests SET status = 'queued' WHERE status = 'running'")
    read = [
        _messages_read(sql, {"ids": [one.id], "worker": desk.worker_id, "window": 50, "most_bytes": 10**6, "lost": []})
        for one in claims
    ]
    assert read == [50, 50]


def _messages_read(sql: Sql, given: dict[str, object]) -> int:
    """Rows that the plan takes from the messages; fails for a plan that reads more than it needs."""
    query = CLAIM_AND_READ.replace("INTO _claims", "").rstrip().rstrip(";")
    for name in ("ids", "worker", "window", "most_bytes", "lost"):
        query = query.replace(f"_{name}", f"%({name})s")
    explained = ClientCursor(sql).execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query, given).fetchone()
    assert explained is not None
    plans = [explained[0][0]["Plan"]]
    for plan in plans:
        plans += plan.get("Plans", [])
    (messages,) = [plan for plan in plans if plan.get("Relation Name") == "messages"]
    assert messages["Index Name"] == "pk_messages", messages
    assert "Rows Removed by Filter" not in messages
    return int(messages["Actual Rows"] * messages["Actual Loops"])


def test_the_context_is_the_summary_and_what_comes_after_it(desk: Desk, sql: Sql) -> None:
    desk.converse(turns=3)
    sql.execute(
        "INSERT INTO summaries (session_id, first_number, through_number, text, by, tokens)"
        " SELECT id, 1, 4, 'They spoke of Knuth.', 'extractive', 5 FROM sessions"
    )
    told, *rest = desk.running().context
    assert (told.role, told.number) == ("system", None)
    assert told.content == "Summary of the conversation up to here (messages 1 to 4):\nThey spoke of Knuth."
    assert [one.number for one in rest] == [5, 6]


def test_after_a_summary_that_ends_within_a_turn_the_context_begins_with_the_next(desk: Desk, sql: Sql) -> None:
    desk.converse(turns=3)
    sql.execute(
        "INSERT INTO summaries (session_id, first_number, through_number, text, by, tokens)"
        " SELECT id, 1, 3, 'They spoke of Knuth.', 'extractive', 5 FROM sessions"
    )
    assert [one.number for one in desk.running().context] == [None, 5, 6]
