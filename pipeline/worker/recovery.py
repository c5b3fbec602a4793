"""Recovery: what was accepted goes on, whoever died. Two at once do no harm; one in the fleet is at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from pipeline import journal, signals
from pipeline.courier import Courier
from pipeline.errors import BrokerUnavailable, LedgerUnavailable
from pipeline.retry import Failure, RetryPolicy, decide
from pipeline.schemas import Status
from pipeline.settings import Settings
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.store.ledger import Ending, Publication, RepeatableEnd, recover
from pipeline.store.ledger.recover import Stranded

log = structlog.get_logger(__name__)

#: Why recovery acts -> the reason on the attempt's record.
REASONS = {"worker_lost": "worker_lost", "overran": "timeout", "interrupted": "interrupted"}

#: Why recovery ends a request whoever holds it, and whether that one lives or not.
UNGUARDED = ("expired", "interrupted")


@dataclass
class Recovery:
    """Looks, when told to, for what cannot go on by itself.

    `steady_for` says for how many seconds this process has seen Postgres answer without a break. Nobody is declared
    dead before that is a lease's length: when Postgres itself was away, the living could not renew either.
    """

    database: Database
    courier: Courier
    settings: Settings
    steady_for: Callable[[], float]

    def run(self) -> Counter[str]:
        """One look. Returns how many requests were helped, by why; empty while another recovery is at work."""
        helped: Counter[str] = Counter()
        try:
            with recover.alone(self.database) as alone:
                if alone:
                    self._look(helped)
        except (*UNAVAILABLE, LedgerUnavailable) as fault:
            signals.ledger_failed("recovery")
            log.warning("recovery_failed", error=type(fault).__name__)
        for why, count in helped.items():
            signals.recovered(why, count)
            log.info("recovered", why=why, requests=count)
        return helped

    def _look(self, helped: Counter[str]) -> None:
        self._help_stranded(helped)
        settings = self.settings
        due = recover.due(self.database, concurrency=settings.user_concurrency)
        self._publish("due", due, helped)
        self._publish("aged", recover.aged(self.database, ageing=settings.ageing), helped)
        try:
            empty = self.courier.empty_queues()
        except BrokerUnavailable:
            return  # counted by the courier; nothing can be published now anyway
        lost = recover.lost(self.database, grace=settings.redelivery_grace, empty_queues=empty)
        self._publish("message_lost", lost, helped)
        recover.forget_dead_workers(self.database)

    def _help_stranded(self, helped: Counter[str]) -> None:
        found = recover.stranded(self.database, patience=self.settings.heartbeat)
        steady = self.steady_for() >= self.settings.lease  # asked afterwards: the answer may have been long in coming
        stranded = [one for one in found if steady or one.why in UNGUARDED]
        if not stranded:
            return
        endings = [self._ending(one) for one in stranded]
        ended = self.database.patiently(RepeatableEnd(self.database, endings, self.settings.user_concurrency))
        ended.count(endings)
        helped.update(one.why for one in stranded if one.id in ended.ids)
        for one, ending in zip(stranded, endings, strict=True):
            if one.id in ended.ids:
                journal.rescued(one, ending)
        self.courier.carry(ended.publications)
        self.courier.tell(ended.outcomes)

    def _ending(self, one: Stranded) -> Ending:
        reason = REASONS.get(one.why)
        status, delay = Status.expired, None
        if one.why == "interrupted":
            status = Status.cancelled
        elif not one.late and reason is not None:
            policy = RetryPolicy.from_settings(self.settings)
            failure = Failure(reason)
            decision = decide(
                failure, policy, attempt=one.attempts, max_attempts=one.max_attempts, seconds_left=float("inf")
            )
            status, delay = (Status.retrying, decision.delay) if decision.retry else (Status.failed, None)
        return Ending(
            id=one.id,
            status=status,
            fence=None if one.why in UNGUARDED else one.fence,
            user_id=one.user_id,
            session_id=one.session_id,
            position=one.position,
            reason=reason,
            delay=delay,
        )

    def _publish(self, why: str, publications: list[Publication], helped: Counter[str]) -> None:
        if publications:
            self.courier.carry(publications)
            helped[why] += len(publications)
