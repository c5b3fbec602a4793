"""Waiting for outcomes: told by the broker, looked up in Postgres, for all waiters of a process together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from uuid import UUID

import structlog

from pipeline import signals
from pipeline.errors import ClientClosed, ClientForked, ConfigurationError, PipelineError, RequestNotFound
from pipeline.store.database import UNAVAILABLE, Database, in_parts
from pipeline.store.ledger import Outcome, outcomes
from pipeline.store.ledger.outcomes import missing

log = structlog.get_logger(__name__)

#: Ids of outcomes that were told before anybody asked; older ones are looked up in Postgres.
REMEMBERED = 10_000

#: Seconds between two looks into Postgres while the broker cannot tell.
POLL_WITHOUT_BROKER = 0.5

#: Most requests in one look.
BATCH = 500


class Waiting:
    """One thread fetches what was told, and every `poll` seconds looks for what was not."""

    def __init__(self, database: Database, *, poll: float, is_told: Callable[[], bool]) -> None:
        self._database = database
        self._poll = poll
        self._is_told = is_told
        self._changed = threading.Condition()
        self._waiting: dict[UUID, list[Future[Outcome]]] = {}
        self._wanted: set[UUID] = set()
        self._told: dict[UUID, None] = {}
        self._stopping = False
        self._next_look = 0.0
        self._thread: threading.Thread | None = None

    def outcome(self, request_id: UUID, *, look_now: bool) -> Future[Outcome]:
        """The outcome to come. `look_now` unless it is sure that its notice has not been missed.

        After `stop`, ClientClosed comes in its place; ClientForked in a child of the process that is connected.
        """
        future: Future[Outcome] = Future()
        if self._database.is_the_parents:  # before the lock, which the parent may have held
            future.set_exception(ClientForked())
            return future
        with self._changed:
            if self._stopping:
                future.set_exception(ClientClosed())
                return future
            if not self._waiting:
                self._next_look = time.monotonic() + self._interval()
                self._changed.notify()  # the thread sleeps without a limit while there is nobody to look for
            self._waiting.setdefault(request_id, []).append(future)
            if look_now or request_id in self._told:
                self._wanted.add(request_id)
                self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pipeline-waiting", daemon=True)
                self._thread.start()
        return future

    def forget(self, request_id: UUID, future: Future[Outcome]) -> None:
        """Nobody waits on this future any more."""
        with self._changed:
            futures = self._waiting.get(request_id, [])
            if future in futures:
                futures.remove(future)
            if not futures:
                self._waiting.pop(request_id, None)

    def tell(self, ids: Iterable[UUID]) -> None:
        """These requests have ended."""
        with self._changed:
            for id_ in ids:
                self._told[id_] = None
                if id_ in self._waiting:
                    self._wanted.add(id_)
            while len(self._told) > REMEMBERED:
                del self._told[next(iter(self._told))]
            if self._wanted:
                self._changed.notify()

    def look(self, request_id: UUID) -> None:
        """This one's notice may have been missed."""
        with self._changed:
            if request_id in self._waiting:
                self._wanted.add(request_id)
                self._changed.notify()

    def look_again(self) -> None:
        """Notices may have been missed."""
        with self._changed:
            self._wanted.update(self._waiting)
            self._changed.notify()

    def stop(self) -> None:
        """End the thread. Whoever waits, or comes to wait later, is raised ClientClosed."""
        with self._changed:
            self._stopping = True
            left = list(self._waiting)
            self._changed.notify()
        for id_ in left:
            self._refuse(id_, ClientClosed())
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while (ids := self._next_batch()) is not None:
            try:
                self._look(ids)
            except Exception:  # the thread's top: the next look comes by itself, and may go well
                signals.thread_failed("waiting")
                log.exception("outcomes_not_read")

    def _look(self, ids: list[UUID]) -> None:
        try:
            found = in_parts(lambda some: outcomes(self._database, some), ids)
            gone = missing(self._database, {*ids} - {outcome.id for outcome in found})
        except UNAVAILABLE as fault:
            signals.ledger_failed("outcomes")
            log.warning("outcomes_not_read", error=type(fault).__name__)
            return  # the next look comes by itself
        except ConfigurationError as fault:
            signals.ledger_failed("outcomes")
            log.error("outcomes_not_read", error=str(fault))  # noqa: TRY400 - whoever waits has the traceback
            for id_ in ids:
                self._refuse(id_, fault)
            return
        for outcome in found:
            self._resolve(outcome)
        for id_ in gone:
            self._refuse(id_, RequestNotFound(str(id_)))

    def _next_batch(self) -> list[UUID] | None:
        with self._changed:
            while not self._stopping and not self._wanted:
                left = self._next_look - time.monotonic()
                if not self._waiting:
                    self._changed.wait()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    self._next_look = time.monotonic() + self._interval()
                    self._wanted.update(self._waiting)
            batch = [self._wanted.pop() for _ in range(min(len(self._wanted), BATCH))]
            return None if self._stopping else batch

    def _resolve(self, outcome: Outcome) -> None:
        with self._changed:
            futures = self._waiting.pop(outcome.id, [])
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(outcome)

    def _refuse(self, request_id: UUID, why: PipelineError) -> None:
        """There will be no outcome: it was erased, or nobody here can read it, or will look for it any more."""
        with self._changed:
            futures = self._waiting.pop(request_id, [])
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(why)

    def _interval(self) -> float:
        return self._poll if self._is_told() else min(POLL_WITHOUT_BROKER, self._poll)
