from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from pipeline import Client, Settings
from pipeline.store.database import Database
from pipeline.store.ledger import Outcome, outcomes
from tests.store.fixtures import desk, emptied_between_tests, ledger_url, sql, store

__all__ = ["client", "connect", "desk", "emptied_between_tests", "ledger_url", "looks", "sql", "store"]

#: A port that nobody listens on.
NO_BROKER = "redis://127.0.0.1:1/0"

Connect = Callable[..., Client]


def settings(database: str, broker: str = NO_BROKER, **more: Any) -> Settings:
    """A broker that is away should not cost the tests much; one that is there may be slow."""
    quick: dict[str, Any] = {"broker_timeout": 0.3 if broker == NO_BROKER else 5.0, "outcome_poll": 0.2}
    return Settings(database_url=database, broker_url=broker, **{**quick, **more})


@pytest.fixture
def connect(ledger_url: str) -> Iterator[Connect]:
    """Makes clients, of a broker's URL or of none."""
    made: list[Client] = []

    def make(broker: str = NO_BROKER, **more: Any) -> Client:
        made.append(Client(settings(ledger_url, broker, **more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each look into Postgres was about, as they come."""
    seen: list[int] = []

    def counted(database: Database, ids: Sequence[UUID]) -> list[Outcome]:
        seen.append(len(ids))
        return outcomes(database, ids)

    monkeypatch.setattr("pipeline.client.waiting.outcomes", counted)
    return seen


@pytest.fixture
def client(connect: Connect) -> Client:
    """A client without a broker."""
    return connect()
