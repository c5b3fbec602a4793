"""What runs before what: within a session, between priorities, and how many of one user's at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pipeline import Handle
from tests.faults.conftest import MakeFleet
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually


def test_fifty_concurrent_submits_to_one_session_are_answered_in_order(fleet: Fleet) -> None:
    fleet.start(2)
    with ThreadPoolExecutor(50) as threads:
        handles = list(threads.map(lambda number: fleet.ask(f"message {number}"), range(50)))
    fleet.assert_answered(handles, attempts=1)
    numbers = [row[0] for row in fleet.rows("SELECT number FROM messages ORDER BY number")]
    assert numbers == list(range(1, 101))
    in_order = "SELECT r.id FROM requests r JOIN messages m ON m.request_id = r.id WHERE m.part = 1 ORDER BY {}"
    assert fleet.rows(in_order.format("r.position")) == fleet.rows(in_order.format("m.number"))


def test_in_a_burst_no_request_waits_for_recovery_to_publish_it_again(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, redelivery_grace=5)  # what a busy machine has on its way is not lost
    fleet.start(2)
    sessions = [str(number) for number in range(20)]
    with ThreadPoolExecutor(40) as threads:
        handles = list(threads.map(lambda one: fleet.ask(user_id=one, conversation_id=one), sessions * 8))
    fleet.assert_answered(handles, attempts=1)
    assert fleet.rows("SELECT id FROM requests WHERE publications > 1") == []


def test_urgent_goes_before_normal_before_batch_but_order_before_priority(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=1)
    for priority in ("batch", "normal", "urgent"):
        fleet.ask_many(3, user=priority, priority=priority)
    fleet.ask("first", user_id="one session", priority="batch")
    fleet.ask("second", user_id="one session", priority="urgent")
    fleet.start(1)
    eventually(lambda: finished(fleet) == 11, PATIENCE, what="all are answered")
    order = [text.split()[0] for (text,) in fleet.rows(STARTED)]
    assert order == ["urgent"] * 3 + ["first", "second"] + ["normal"] * 3 + ["batch"] * 3


STARTED = """
SELECT m.content FROM requests r JOIN messages m ON m.request_id = r.id AND m.part = 1 ORDER BY r.started_at
"""


def test_a_user_has_no_more_than_three_requests_published_or_running(fleet: Fleet) -> None:
    fleet.start(1)
    handles = [fleet.ask(agent="gate", conversation_id=f"conversation {number}") for number in range(8)]
    eventually(lambda: fleet.running() == 3, PATIENCE, what="three run")
    fleet.assert_answered(fleet.ask_many(5))  # of other users meanwhile
    assert fleet.scalar("SELECT count(*) FROM requests WHERE status = 'running'") == 3
    assert fleet.scalar("SELECT count(*) FROM requests WHERE finished_at IS NULL AND published_at IS NOT NULL") == 3
    fleet.open_gate()
    fleet.assert_answered(handles, attempts=1)
    assert most_at_once(fleet, handles) <= 3


def most_at_once(fleet: Fleet, handles: list[Handle]) -> int:
    """How many attempts of these requests overlapped."""
    spans = fleet.rows(
        "SELECT started_at, finished_at FROM attempts WHERE request_id = ANY(%s::uuid[])",
        [handle.id for handle in handles],
    )
    return max(len([1 for began, ended in spans if began <= at < ended]) for at, _ in spans)


def finished(fleet: Fleet) -> int:
    return int(fleet.scalar("SELECT count(*) FROM requests WHERE finished_at IS NOT NULL"))
