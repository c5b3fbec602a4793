"""What a new connection does before anybody waits for it: it plans the statements that it is for.

A plan is made once a connection, and takes longer than the statement does: each verb is called with nothing to do.
"""

from __future__ import annotations

import uuid

from pipeline.store.database import Connection
from pipeline.store.ledger.accept import ACCEPT
from pipeline.store.ledger.claim import CLAIM
from pipeline.store.ledger.end import END_AND_HAND_OVER
from pipeline.store.ledger.outcomes import OUTCOMES

#: JSON without an item.
NONE = "[]"

#: Some worker's id: nothing is looked up by it.
NOBODY = uuid.UUID(int=0)


def accepting(connection: Connection) -> None:
    """What those do who submit and wait. Raises psycopg.Error."""
    ACCEPT.rehearse(connection, [], NONE, False, 0)  # noqa: FBT003 - an argument in SQL, which has no name there
    OUTCOMES.rehearse(connection, [])


def answering(connection: Connection) -> None:
    """What workers do. Raises psycopg.Error."""
    CLAIM.rehearse(connection, [], NOBODY, 0, 0, [])
    END_AND_HAND_OVER.rehearse(connection, [], [], [], NONE, NONE, NONE, 0, None)
