"""What a worker process has beside Celery, put together; and the way of one request through it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import structlog

from pipeline import agents, broker, journal, notices, signals, tracing
from pipeline.archive.archiver import Archiver
from pipeline.archive.assembly import archiver
from pipeline.archive.storage import open_storage
from pipeline.archive.sweep import Sweep
from pipeline.courier import Courier
from pipeline.erasure import Eraser
from pipeline.fingerprint import fingerprint
from pipeline.once import once
from pipeline.providers.registry import Providers
from pipeline.retry import ALWAYS_RETRIED, RetryPolicy
from pipeline.schemas import Call, Status
from pipeline.settings import Settings
from pipeline.spelling import unknown_variables
from pipeline.store import version
from pipeline.store.archives import Rules
from pipeline.store.database import REFUSALS, UNAVAILABLE, Database
from pipeline.store.ledger import Claim, Ending, account, rehearse, workers
from pipeline.store.measures import users
from pipeline.stream import StreamWriter
from pipeline.tracing import AttemptTrace
from pipeline.worker.attempt import Attempt
from pipeline.worker.every import Every
from pipeline.worker.heart import Heart
from pipeline.worker.held import INTERRUPTED, Control, Held
from pipeline.worker.ledger_desk import LedgerDesk
from pipeline.worker.recovery import Recovery
from pipeline.worker.routes import routed
from pipeline.worker.upkeep import Upkeep

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the task is to tell Celery of one delivery: `ending` as it was committed, None for one to be dropped."""

    claim: Claim | None
    ending: Ending | None


class Runtime:
    """One a worker process; started before Celery consumes, stopped after the last task."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.id = uuid4()
        self.name = name
        self._settings = settings
        self._database = Database(settings.database, size=settings.database_pool_size, rehearse=rehearse.answering)
        signals.label_users_by(users.claiming(self._database, settings.metrics_max_users))
        self._labels = users.Watch(self._database)
        self._client = broker.connect(settings.broker, settings.broker_timeout)
        self._held = Held()
        self._courier = Courier(settings, self._client)
        self._desk = LedgerDesk(self._database, self.id, self._held, self._courier, settings)
        self._heart = Heart(
            self._database,
            self.id,
            self._held,
            lease=settings.lease,
            beat_every=settings.heartbeat,
            register=self._register,
        )
        self.recovery = Recovery(self._database, self._courier, settings, lambda: self._heart.steady_for)
        self._providers = Providers(settings)
        self._router = routed(self._providers, settings, self._database)
        self._streams = StreamWriter(self._client, keep=settings.stream_seconds)
        self._orders = notices.Listener(settings.broker, self._on_order, timeout=settings.broker_timeout)
        self._attempt = Attempt(
            agents=agents.load(settings.agents),
            provider=self._router,
            policy=RetryPolicy.from_settings(settings),
            countdown_max=settings.countdown_max,
        )
        self._tracing = tracing.from_settings(settings)
        reasons = ALWAYS_RETRIED | {f"http_{code}" for code in settings.retry_status_codes}
        signals.worker_begun(self._providers.names, reasons)
        self._recovering = Every(settings.recovery_interval, self._look, name="pipeline-recovery")

    def start(self) -> None:
        """Register with the ledger and begin to live. Raises what Postgres raises when it is not there, and
        ConfigurationError when it is of another version."""
        for name, nearest in unknown_variables().items():
            log.warning("variable_ignored", name=name, nearest=nearest)
        version.require(self._database)
        self._register()
        self._streams.start()
        self._orders.subscribe(notices.control_channel(str(self.id)))
        self._orders.subscribe(notices.interrupts_channel(str(self.id)))
        self._heart.start()
        self._recovering.start()
        log.info("worker_registered", worker=self.name, worker_id=str(self.id))

    def _register(self) -> None:
        lease, known = self._settings.lease, fingerprint(self._settings)
        workers.register(self._database, self.id, name=self.name, pid=os.getpid(), lease=lease, settings=known)

    def answer(self, request_id: UUID, number: int) -> Verdict:
        """Claim, run, commit. `number` is that of the publication which was delivered.

        Raises LedgerUnavailable only while stopping.
        """
        began = time.monotonic()
        claim = self._claim(request_id, began)
        if claim is None:
            signals.duplicate_delivered()
            return Verdict(None, None)
        if number == claim.publications:  # an older copy says nothing of how far the newest has come
            self._heart.claimed(claim.queue, claim.published_at)
        signals.request_begun(claim.user_id)
        with (
            self._tracing.attempting(claim, self.name) as trace,
            journal.attempting(claim, self.name, trace.trace_id),
        ):
            return Verdict(claim, self._run(claim, trace, began))

    def _claim(self, request_id: UUID, began: float) -> Claim | None:
        """None for what is not this worker's to run; but one whose lease may have run out since `began` is given
        nothing at all, and asks once more with a lease: it would drop all messages that it takes."""
        claim = self._desk.claim(request_id)
        if claim is None and self._heart.steady_for < time.monotonic() - began:
            self._heart.revive()
            claim = self._desk.claim(request_id)
        return claim

    def _run(self, claim: Claim, trace: AttemptTrace, began: float) -> Ending | None:
        """Run the agent and commit. Returns the ending that took effect. `began` is when the claim was asked for."""
        claimed = time.monotonic()
        control = Control(claimed + claim.run_left)
        feed = self._streams.open(str(claim.id), claim.stream_key, claim.fence)
        with self._held.hold(claim.id, claim.fence, control), feed, signals.in_progress():
            before = time.monotonic()
            run = self._attempt.run(claim, control, feed)
            began += time.monotonic() - before
            trace.called(run.calls)
            ending = self._end(run.ending, trace) if run.ending is not None else None
            if ending is not None:
                signals.overhead(time.monotonic() - began)
                _tell(ending, time.monotonic() - claimed)
                return ending
        signals.provider_paid(run.calls, used=False)
        why = control.interrupted or "fenced off"
        trace.lost(why)
        journal.attempt_lost(why, time.monotonic() - claimed)
        if run.ending is None:
            signals.claim_lost(control.interrupted or "unknown")
            self._account(claim, run.calls)
        return None

    def _end(self, ending: Ending, trace: AttemptTrace) -> Ending | None:
        with trace.committing(ending):
            return self._desk.end(replace(ending, trace_id=trace.trace_id) if trace.trace_id else ending)

    @once
    def archiver(self) -> Archiver:
        """Opens the storage when it is first needed: most workers do without. Raises ConfigurationError."""
        return archiver(self._settings, self._database, self._attempt.provider)

    @once
    def upkeep(self) -> Upkeep:
        """What is to go, goes by it."""
        settings = self._settings
        eraser = Eraser(
            self._database, lambda: open_storage(settings.cold_storage), self._courier, self._client, settings
        )
        return Upkeep(self._database, eraser, settings)

    @property
    def sweep(self) -> Sweep:
        """What hands sessions out to the archivers."""
        rules = Rules.from_settings(self._settings)
        return Sweep(self._database, rules, self._courier.archive, self._courier.waiting_to_archive)

    def stop(self) -> None:
        """Give the lease back: what is left need not wait for its end."""
        self._desk.give_up()
        self._recovering.stop()
        self._heart.stop()
        self._orders.stop()
        self._streams.stop()
        try:
            workers.release(self._database, self.id)
        except UNAVAILABLE as fault:
            signals.ledger_failed("release")
            log.warning("lease_not_released", error=type(fault).__name__)
        if self._router is not None:
            self._router.close()
        self._providers.close()
        self._database.close()
        self._tracing.close()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing runs. Returns whether that came true within `timeout` seconds."""
        return self._held.wait_empty(timeout)

    def wind_down(self) -> None:
        """Begin nothing long any more."""
        if "archiver" in self.__dict__:
            self.archiver.stop()

    def interrupt_all(self) -> None:
        """The time to finish is over: make what runs stop."""
        self._desk.give_up()
        self._held.interrupt_all("worker stopping")

    def _look(self) -> None:
        """What every worker does every so often."""
        self.recovery.run()
        users.expect(self._database)
        self._labels.look()

    def _account(self, claim: Claim, calls: tuple[Call, ...]) -> None:
        if not calls:
            return
        try:
            account(self._database, claim.id, claim.attempt, claim.fence, calls)
        except (*UNAVAILABLE, *REFUSALS) as fault:
            signals.ledger_failed("account")
            log.warning("calls_not_accounted", request_id=str(claim.id), calls=len(calls), error=type(fault).__name__)

    def _on_order(self, channel: str, ids: Sequence[str]) -> None:
        why = INTERRUPTED if channel == notices.interrupts_channel(str(self.id)) else "cancelled"
        for id_ in ids:
            self._held.interrupt(UUID(id_), why)


def _tell(ending: Ending, seconds: float) -> None:
    signals.provider_paid(ending.calls, used=ending.status is Status.succeeded)
    if ending.status is Status.queued:
        signals.deferred(ending.reason or "unknown")
    journal.attempt_ended(ending, seconds)
