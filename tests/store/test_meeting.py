"""A claim meets what is accepted behind its request: neither loses the message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pipeline.schemas import Priority, Status
from pipeline.store.database import Connection
from tests.store.desk import Desk, accept_by, ending, new


@pytest.fixture
def other(ledger_url: str) -> Iterator[Connection]:
    """Another process's connection, in a transaction."""
    with psycopg.connect(ledger_url) as connection:
        yield connection


@pytest.mark.parametrize("on_busy", ["queue", "reject"])
def test_a_request_can_be_claimed_while_another_is_accepted_behind_it(
    desk: Desk, other: Connection, on_busy: str
) -> None:
    desk.accept(head := new())
    assert accept_by(other, new(on_busy=on_busy)) == []
    assert [one.id for one in desk.claim(head.id)] == [head.id], "its message comes once"


@pytest.mark.parametrize("change", [{"on_busy": "interrupt"}, {"priority": Priority.urgent}])
@pytest.mark.parametrize("state", [Status.queued, Status.retrying])
def test_what_holds_a_request_that_could_be_claimed_publishes_it_again(
    desk: Desk, other: Connection, state: Status, change: dict[str, Any]
) -> None:
    desk.accept(head := new())
    if state is Status.retrying:
        desk.end(ending(desk.claim_one(head.id), state, delay=0, countdown=True))
    published = accept_by(other, new(**change))
    assert desk.claim(head.id) == [], "its message is spent"
    other.commit()
    assert [one[0] for one in published] == [str(head.id)]
    assert [one.id for one in desk.claim(head.id)] == [head.id]
