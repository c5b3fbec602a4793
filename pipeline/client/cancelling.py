"""Cancelling: the one outcome that a client may give."""

from __future__ import annotations

from uuid import UUID

from pipeline.courier import Courier
from pipeline.schemas import OUTCOMES, Status
from pipeline.store.database import Database
from pipeline.store.ledger import Ending, RepeatableEnd
from pipeline.store.ledger.outcomes import Standing


def cancellation(now: Standing) -> Ending:
    """What is asked of the ledger, whoever runs the request."""
    return Ending(
        id=now.id,
        status=Status.cancelled,
        fence=None,
        user_id=now.user_id,
        session_id=now.session_id,
        position=now.position,
    )


def cancel(database: Database, courier: Courier, now: Standing, *, concurrency: int) -> bool:
    """End a request that stood like this a moment before. Returns whether it had no outcome until then."""
    if now.status in OUTCOMES:
        return False
    ending = cancellation(now)
    ended = database.patiently(RepeatableEnd(database, [ending], concurrency))
    ended.count([ending])
    for course in ended.courses.values():
        if course.worker is not None:  # as the end found it: `now` is of a moment before
            courier.cancel(UUID(course.worker), now.id)
    courier.tell(ended.outcomes)
    courier.carry(ended.publications)
    return bool(ended.ids)
