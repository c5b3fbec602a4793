"""The way of a submission into the ledger: through the gate, in company of what waits at the same moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from pipeline import combine, signals
from pipeline.admission import Ask, Gate
from pipeline.combine import RESTS, Combiner
from pipeline.courier import Courier
from pipeline.errors import ClientClosed, LedgerUnavailable, PipelineError, QueueFull, SessionBusy
from pipeline.store.database import REFUSALS, Database
from pipeline.store.ledger import Accepted, NewRequest, accept, look_up

log = structlog.get_logger(__name__)

#: Requests that are stored in one round trip, and bytes of them: well within what Postgres takes in the time that a
#: statement may.
BATCH, HEAVIEST = 500, 8 * 1024 * 1024

#: What becomes of a submission: kept, or why not.
Result = Accepted | PipelineError

#: Takes what is left to do once a batch is stored.
Then = Callable[[Callable[[], None]], None]


@dataclass(slots=True)
class Submission:
    """One request on its way. `result` is there as soon as the gate, or the ledger, has spoken its last word."""

    new: NewRequest
    admitted: bool = False
    result: Result | None = None


class Acceptance:
    """Stores what is let in and publishes what may run, for all threads of a client process."""

    def __init__(self, database: Database, gate: Gate, courier: Courier, *, concurrency: int) -> None:
        self._database = database
        self._gate = gate
        self._courier = courier
        self._concurrency = concurrency
        self._together = Combiner(
            self._accept_together, most=BATCH, refusals=REFUSALS, rests=RESTS, weigh=_weight, heaviest=HEAVIEST
        )

    def one(self, new: NewRequest) -> Accepted:
        """Accept a request. Raises why it was refused, or LedgerUnavailable."""
        result = self._together(Submission(new))
        if isinstance(result, PipelineError):
            raise result
        return result

    def many(self, batch: Sequence[NewRequest]) -> list[Result]:
        """Accept a batch, in its order: one of those that `batches` makes."""
        submissions = [Submission(new) for new in batch]
        try:
            return self._accept(submissions, _at_once)
        except (LedgerUnavailable, ClientClosed) as fault:
            return [one.result or fault for one in submissions]  # what was stored before stays, and has its handles

    def _accept_together(self, batch: Sequence[Submission]) -> list[Result]:
        return self._accept(batch, self._together.afterwards)

    def _accept(self, batch: Sequence[Submission], then: Then) -> list[Result]:
        ask = self._pass_gate([one for one in batch if not one.admitted and one.result is None])
        try:
            self._store([one for one in batch if one.result is None], then)
        finally:
            if ask is not None:
                self._gate.count(ask)
        return [one.result for one in batch if one.result is not None]

    def _pass_gate(self, batch: Sequence[Submission]) -> Ask | None:
        # Once for each, also when its batch is stored item by item after one of them was refused by Postgres.
        if not batch:
            return None
        refusals, ask = self._gate.admit([one.new.user_id for one in batch])
        for one, refusal in zip(batch, refusals, strict=True):
            one.admitted, one.result = refusal is None, refusal
        self._spare_the_known([one for one in batch if isinstance(one.result, QueueFull) and one.new.idempotency_key])
        return ask

    def _spare_the_known(self, refused: Sequence[Submission]) -> None:
        """Whoever asks again for what was accepted before adds nothing to the queue, and is not refused by it."""
        if not refused:
            return
        keys = [(one.new.user_id, one.new.idempotency_key or "") for one in refused]
        found = self._database.patiently(lambda: look_up(self._database, keys))
        for one, known in zip(refused, found, strict=True):
            one.result = known or one.result

    def _store(self, batch: Sequence[Submission], then: Then) -> None:
        if not batch:
            return
        new = [one.new for one in batch]
        results, publications = self._database.patiently(
            lambda: accept(self._database, new, concurrency=self._concurrency)
        )
        then(lambda: self._courier.carry(publications))
        then(lambda: self._courier.interrupt([one.interrupts for one in results if one.interrupts is not None]))
        for one, result in zip(batch, results, strict=True):
            one.result = self._told(one.new, result)

    def _told(self, new: NewRequest, result: Accepted) -> Result:
        if result.interrupts is not None:
            signals.session_busy("interrupt")
            log.info("request_interrupted", request_id=str(result.interrupts[0]), by=str(new.id))
        if not result.busy:
            return result
        signals.session_busy("reject")
        return SessionBusy(new.user_id, new.conversation_id)


def _at_once(job: Callable[[], None]) -> None:
    job()


def batches(new: Iterable[NewRequest]) -> Iterator[list[NewRequest]]:
    """What is to be accepted, in its order, in as many requests at once as go together well."""
    return combine.batches(new, size_of, most=BATCH, heaviest=HEAVIEST)


def size_of(new: NewRequest) -> int:
    """Bytes of its text and metadata; all else of a request is small."""
    return len(new.text.encode()) + (len(json.dumps(new.metadata)) if new.metadata else 0)


def _weight(submission: Submission) -> int:
    return size_of(submission.new)
