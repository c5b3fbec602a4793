"""The worker's desk at the ledger: claims and endings that wait together go together, until Postgres has taken them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import structlog

from pipeline import signals
from pipeline.combine import RESTS, Combiner
from pipeline.courier import Courier
from pipeline.schemas import Status
from pipeline.settings import Settings
from pipeline.store.database import REFUSALS, Database, in_parts
from pipeline.store.ledger import Claim, Ended, Ending, RepeatableEnd, claim
from pipeline.turn import size_of
from pipeline.worker.held import Held

log = structlog.get_logger(__name__)

#: Bytes of what is kept at once: well within what Postgres takes in the time that a statement may, beside other work.
HEAVIEST = 8 * 1024 * 1024


class LedgerDesk:
    """Claims and ends for all the attempts of a process. Blocks while Postgres is away, so that a worker that
    cannot work takes nothing more from the queues; raises LedgerUnavailable only when the worker is told to stop."""

    def __init__(self, database: Database, worker: UUID, held: Held, courier: Courier, settings: Settings) -> None:
        self._database = database
        self._worker = worker
        self._held = held
        self._courier = courier
        self._settings = settings
        self._giving_up = threading.Event()
        self.claim = Combiner(self._claim, rests=RESTS)
        self._end_together = Combiner(self._end, refusals=REFUSALS, rests=RESTS, weigh=_size, heaviest=HEAVIEST)

    def end(self, ending: Ending) -> Ending | None:
        """End an attempt. Returns the ending that took effect, None where the attempt had lost its claim.

        An answer that Postgres refuses to keep ends the request as failed: it would be refused for ever.
        """
        try:
            return ending if self._end_together(ending) else None
        except REFUSALS as refusal:
            error = f"the ledger refuses what came of it: {type(refusal).__name__}"
            signals.ledger_failed("ending_refused")
            log.error("ending_refused", request_id=str(ending.id), error=type(refusal).__name__)  # noqa: TRY400 - may quote
        failed = replace(ending, status=Status.failed, reason="agent_error", error=error, messages=(), delay=None)
        try:
            return failed if self._end_together(failed) else None  # with its calls, which were paid for
        except REFUSALS as refusal:
            calls = len(ending.calls)
            signals.ledger_failed("calls_refused")
            log.error("calls_refused", request_id=str(ending.id), calls=calls, error=type(refusal).__name__)  # noqa: TRY400 - may quote
        unpaid = replace(failed, calls=())
        return unpaid if self._end_together(unpaid) else None

    def give_up(self) -> None:
        """Stop waiting for Postgres."""
        self._giving_up.set()

    def _claim(self, ids: Sequence[UUID]) -> list[Claim | None]:
        tried = False

        def commit() -> list[Claim]:
            nonlocal tried
            held = self._held.fences()
            lost = [id_ for id_ in ids if id_ not in held] if tried else []
            tried = True
            return in_parts(lambda some: self._claim_some(some, lost), ids)  # their contexts may be large

        claims = self._database.until_available(commit, give_up=self._giving_up.is_set)
        signals.users_met([one.user_id for one in claims])
        by_id = {one.id: one for one in claims}
        return [by_id.pop(id_, None) for id_ in ids]  # the same id twice in a batch: the second is a duplicate

    def _claim_some(self, ids: Sequence[UUID], lost: Sequence[UUID]) -> list[Claim]:
        lost_ones = [id_ for id_ in lost if id_ in ids]
        window, most_bytes = self._settings.max_messages_in_memory, self._settings.max_context_bytes
        return claim(self._database, self._worker, ids, window=window, most_bytes=most_bytes, lost=lost_ones)

    def _end(self, endings: Sequence[Ending]) -> list[bool]:
        settings = self._settings
        commit = RepeatableEnd(
            self._database, endings, concurrency=settings.user_concurrency, most_hot=settings.max_messages_in_memory
        )
        ended = self._database.until_available(commit, give_up=self._giving_up.is_set)
        self._end_together.afterwards(lambda: self._announce(ended, endings))
        for one in endings:
            if one.id not in ended.ids:
                signals.claim_lost("fenced")
                log.info("claim_lost", request_id=str(one.id), fence=one.fence)
        return [one.id in ended.ids for one in endings]

    def _announce(self, ended: Ended, endings: Sequence[Ending]) -> None:
        ended.count(endings)
        self._courier.tell(ended.outcomes)
        self._courier.carry(ended.publications)
        self._courier.archive([ended.crowded])


def _size(ending: Ending) -> int:
    return sum(size_of(one) for one in ending.messages)
