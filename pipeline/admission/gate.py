"""The gate that every submission passes, and what it answers to those that it refuses."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import redis
import structlog

from pipeline import signals
from pipeline.admission.tally import COUNT_EVERY, FULL, Ask, Look, Tally
from pipeline.courier import Courier
from pipeline.errors import NotAdmitted, QueueFull, RateLimited
from pipeline.once import once
from pipeline.rate import Rate
from pipeline.settings import Settings
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.store.ledger.depth import depth

log = structlog.get_logger(__name__)

#: Shares of `QUEUE_LIMIT`: from the first on operators are warned, from the second on requests are refused.
WARN_AT, REFUSE_AT = 0.70, 0.95

#: Seconds: within these a full queue asks its callers to come again.
SOONEST, LATEST = 1.0, 60.0

#: How many times the limit is counted, at most: replays, and what came while the broker was away, may exceed it.
COUNT_AT_MOST = 3


class Gate:
    """Lets in or refuses, for all threads of a client process.

    The depth of the queue is counted in Postgres at most once a second over the whole fleet, beside the submissions;
    in between, what is let in is added. So it may be too high by what began to run since the last count, which was
    about a second ago, and too low by the submissions that were under way in that moment. Before anybody is refused
    by a count that is older, the queue is counted again.
    """

    def __init__(self, settings: Settings, client: redis.Redis, courier: Courier, database: Database) -> None:
        self._rate = Rate.parse(settings.user_rate)
        self._limit = settings.queue_limit
        self._warn_at = math.ceil(WARN_AT * self._limit)
        self._tally = Tally(client, self._rate, most=math.ceil(REFUSE_AT * self._limit), warn_at=self._warn_at)
        self._courier = courier
        self._database = database
        self._recounting = threading.Lock()
        self._recounted_at = float("-inf")

    def admit(self, users: Sequence[str]) -> tuple[list[NotAdmitted | None], Ask | None]:
        """Which of a batch may come in, given the user of each: None, or why not. One round trip to the broker.

        With it comes, once in a while, the task to `count`, after the batch was stored.
        """
        look = self._courier.attempt("admission", lambda: self._tally.look(users))
        if look is None:
            signals.admitted_unchecked("broker_away", len(users))
            return [None] * len(users), None
        if look.is_stale and FULL in look.verdicts:
            look = self._recounted(users, look)
        if look.depth is None:
            signals.admitted_unchecked("depth_unknown", look.verdicts.count(0))
        if look.warn:
            signals.queue_nearly_full()
            log.warning("queue_nearly_full", depth=look.depth, limit=self._limit, drain_per_second=look.drain)
        refusals = [self._refusal(user, verdict, look) for user, verdict in zip(users, look.verdicts, strict=True)]
        return refusals, look.ask

    def count(self, ask: Ask) -> None:
        """Count the queue, and tell the others: beside the caller, who does not wait for it."""
        try:
            self._counter.submit(self._count_beside, ask)
        except RuntimeError:  # closed meanwhile
            log.debug("queue_not_counted")

    def close(self) -> None:
        """Wait for a count that is under way; make no further one."""
        self._counter.shutdown(cancel_futures=True)

    @once
    def _counter(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="pipeline-admission")

    def _recounted(self, users: Sequence[str], look: Look) -> Look:
        """Look again, after a new count, at those whom an old one would refuse. Where there is none to be had, they
        are let in."""
        places = [place for place, verdict in enumerate(look.verdicts) if verdict == FULL]
        again = None
        if self._count_at_once(replace(look.now, accepted=look.now.accepted - look.verdicts.count(0))):
            again = self._courier.attempt("admission", lambda: self._tally.look([users[place] for place in places]))
        if again is None:
            signals.admitted_unchecked("depth_unknown", len(places))
            return replace(look, verdicts=[max(0, verdict) for verdict in look.verdicts])
        newer = dict(zip(places, again.verdicts, strict=True))
        verdicts = [newer.get(place, verdict) for place, verdict in enumerate(look.verdicts)]
        return replace(again, verdicts=verdicts, ask=again.ask or look.ask, warn=again.warn or look.warn)

    def _count_at_once(self, ask: Ask) -> bool:
        """Count the queue, unless another caller has done so meanwhile. Returns whether the count is a new one."""
        with self._recounting:
            if time.monotonic() - self._recounted_at < COUNT_EVERY / 1000:
                return True
            counted = self._count(ask)
            if counted:
                self._recounted_at = time.monotonic()
            return counted

    def _count_beside(self, ask: Ask) -> None:
        try:
            self._count(ask)
        except Exception:  # the thread's top: nobody waits for what comes of this; the next count is soon asked for
            signals.thread_failed("admission")
            log.exception("queue_not_counted")

    def _count(self, ask: Ask) -> bool:
        try:
            waiting = depth(self._database, most=COUNT_AT_MOST * self._limit)
        except UNAVAILABLE as fault:
            signals.ledger_failed("depth")
            log.warning("queue_not_counted", error=type(fault).__name__)
            return False
        self._courier.attempt("admission", lambda: self._tally.counted(waiting, ask))
        return True

    def _refusal(self, user_id: str, verdict: int, look: Look) -> NotAdmitted | None:
        if verdict == 0:
            return None
        if verdict > 0:
            signals.rate_limited(user_id)
            return RateLimited(str(self._rate), verdict / 1000)
        signals.queue_full()
        return QueueFull(look.depth or 0, self._limit, self._drained_in(look))

    def _drained_in(self, look: Look) -> float:
        """Seconds until the queue is below its warning mark, if it goes on to drain as it does now."""
        excess = (look.depth or 0) - self._warn_at
        seconds = excess / look.drain if look.drain else LATEST
        return min(max(seconds, SOONEST), LATEST)
