"""What a verb of the ledger costs on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipeline.schemas import Message
from pipeline.store.database import Database
from pipeline.store.ledger import workers
from tests.store.desk import Desk, answered, new
from tests.store.wire import Wire


@pytest.fixture
def wire(ledger_url: str) -> Iterator[Wire]:
    with Wire(ledger_url) as wire:
        yield wire


@pytest.fixture
def far(wire: Wire) -> Iterator[Desk]:
    """A desk at the wire's far end, connected already."""
    database = Database(wire.url, size=1, wait=10)
    yield Desk(database)
    database.close()


def trips(wire: Wire, verb: Callable[[], object]) -> int:
    with wire.counted() as found:
        verb()
    return found[0]


def test_the_wire_counts_round_trips(wire: Wire, far: Desk) -> None:
    def three_in_a_row() -> None:
        with far.database.connection() as connection:
            for _ in range(3):
                connection.execute("SELECT 1")

    assert trips(wire, three_in_a_row) == 3


def test_to_accept_takes_one_round_trip(wire: Wire, far: Desk) -> None:
    # on each connection the statement is prepared, once, with a round trip more
    assert sorted(trips(wire, lambda: far.accept(new())) for _ in range(6)) == [1, 1, 1, 1, 1, 2]
    assert trips(wire, lambda: far.accept(new(idempotency_key="k", content_hash=b"h"))) == 1


def test_to_accept_a_thousand_takes_a_handful_of_round_trips(wire: Wire, far: Desk) -> None:
    batch = [new(f"user-{index % 50}", f"c-{index % 200}", text="x" * 500) for index in range(1000)]
    assert trips(wire, lambda: far.accept(*batch)) <= 5


def test_to_claim_takes_one_round_trip_context_included(wire: Wire, far: Desk) -> None:
    far.converse(turns=2)
    one = new()
    far.accept(one)
    with wire.counted() as found:
        assert len(far.claim_one(one.id).context) == 4
    assert found == [1]


def test_to_end_takes_one_round_trip_hand_over_included(wire: Wire, far: Desk) -> None:
    far.accept(first := new(), second := new())
    claimed = far.claim_one(first.id)
    with wire.counted() as found:
        ended = far.end(answered(claimed, "Knuth.", Message("tool", "found", tool_call_id="1")))
    assert [one.id for one in ended.publications] == [second.id]
    assert found == [1]


def test_to_be_told_which_sessions_are_to_be_archived_takes_none_more(wire: Wire, far: Desk) -> None:
    far.converse(turns=2)
    claimed = far.running()
    with wire.counted() as found:
        ended = far.end(answered(claimed), most_hot=5)
    assert ended.crowded == (claimed.session_id,)
    assert found == [1]


def test_to_renew_a_lease_takes_one_round_trip(wire: Wire, far: Desk) -> None:
    held = [far.running(conversation=f"c{index}", user=f"u{index}").id for index in range(2)]
    assert trips(wire, lambda: workers.renew(far.database, far.worker_id, lease=10, held=held, claimed_through={})) == 1
