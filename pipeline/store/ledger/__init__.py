"""The ledger: what was accepted, where it stands, how it ended. Postgres decides, in one round trip a verb.

Every verb takes a batch, so that what waits at the same moment shares statements and a commit. Locks are taken in
one order: users by id, then requests. A user's row is held by whoever accepts or hands on that user's requests;
a claim locks requests only, and skips what another holds, since each holder publishes after its commit.
"""

from pipeline.store.ledger.accept import ACCEPT, accept, look_up
from pipeline.store.ledger.claim import CLAIM, claim
from pipeline.store.ledger.depth import DEPTH
from pipeline.store.ledger.end import ACCOUNT, END_AND_HAND_OVER, Ended, account, end
from pipeline.store.ledger.outcomes import OUTCOMES, outcomes
from pipeline.store.ledger.records import (
    Accepted,
    Claim,
    Ending,
    NewRequest,
    Outcome,
    Publication,
)
from pipeline.store.ledger.recover import DUE
from pipeline.store.ledger.repeat import RepeatableEnd
from pipeline.store.ledger.replay import REPLAY

#: The functions that the database must have.
PROCEDURES = (ACCEPT, CLAIM, END_AND_HAND_OVER, ACCOUNT, DUE, OUTCOMES, DEPTH, REPLAY)

__all__ = [
    "PROCEDURES",
    "Accepted",
    "Claim",
    "Ended",
    "Ending",
    "NewRequest",
    "Outcome",
    "Publication",
    "RepeatableEnd",
    "accept",
    "account",
    "claim",
    "end",
    "look_up",
    "outcomes",
]
