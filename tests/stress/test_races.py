"""The race of the ledger's verbs: what we have holds, and a lock that is left out is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline.store.ledger.accept import LOCK_USERS
from pipeline.store.ledger.end import END_AND_HAND_OVER
from pipeline.store.procedures import Procedure
from pipeline.store.version import PROCEDURES
from stress.races import race as races
from stress.races.pauses import put_in, slowed
from stress.races.race import Verdict, race
from stress.races.world import World, world
from tests.servers import Broker

#: Seconds between two statements, at most.
PAUSE = 0.005


@pytest.fixture
def raced(database: str, broker: Broker, tmp_path: Path) -> Iterator[World]:
    put_in(database, PAUSE)
    with world(database, broker.url, tmp_path / "cold", threads=8, users=2) as shared:
        yield shared


def run(shared: World, seconds: float) -> Verdict:
    return race(shared, threads=8, seconds=seconds, seed=1)


def test_every_verb_at_once_loses_nothing_and_raises_nothing(raced: World) -> None:
    verdict = run(raced, 4)
    assert (verdict.broken, verdict.raised) == ([], {})
    assert verdict.held
    assert verdict.accepted == len(raced.accepted) > 0
    assert {"accept", "claim", "end", "erase"} <= {*verdict.verbs}


def test_a_lock_that_is_left_out_is_found(raced: World, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(races, "PATIENCE", 3.0)
    with psycopg.connect(database) as connection:
        without = END_AND_HAND_OVER.body.replace(LOCK_USERS, "")
        connection.execute(slowed(END_AND_HAND_OVER, PAUSE, without).encode())
    assert any(not run(raced, 4).held for _ in range(4))


@pytest.mark.parametrize("one", PROCEDURES, ids=lambda one: one.verb)
def test_each_function_pauses_after_its_statements_and_keeps_its_name(one: Procedure) -> None:
    statement = slowed(one, PAUSE)
    assert statement.startswith(f"CREATE OR REPLACE FUNCTION {one.name}(")
    assert "PERFORM pg_sleep(random() * 0.005000);" in statement
    assert "0.005000);\nGET DIAGNOSTICS" not in statement, "it tells of the statement before it"
