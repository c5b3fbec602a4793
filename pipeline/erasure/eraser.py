"""The eraser. Killed at any point it has lost nothing: whoever comes next goes on where the rows say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import redis
import structlog

from pipeline import signals
from pipeline.archive.storage import Storage
from pipeline.courier import Courier
from pipeline.erasure.traces import remove_streams, remove_user, rewrite_files
from pipeline.errors import BrokerUnavailable, ConfigurationError, StorageFailed
from pipeline.once import once
from pipeline.schemas import Receipt
from pipeline.settings import Settings
from pipeline.store import erasures
from pipeline.store.database import Database
from pipeline.store.erasures import Scope

log = structlog.get_logger(__name__)

#: Seconds for which an erasure is left to whoever works on it.
HOLD = 60.0

#: Seconds on top of a stream's time, in which clocks may differ.
MARGIN = 600.0

#: Objects that are removed at the same time.
HANDS = 8

#: Erasures that one look goes on with.
MOST = 20


class Eraser:
    """Erases, and goes on with what others began. Safe to use from any thread; two at once do no harm.

    `open_storage` is called when there is something in cold storage to remove.
    """

    def __init__(
        self,
        database: Database,
        open_storage: Callable[[], Storage],
        courier: Courier,
        client: redis.Redis,
        settings: Settings,
    ) -> None:
        self._database = database
        self._open_storage = open_storage
        self._courier = courier
        self._client = client
        self._settings = settings

    def erase(self, scope: Scope) -> Receipt:
        """Erase what there is now. What cannot be removed yet, because storage or the broker is away, is removed by
        the workers as soon as it can; until then the receipt is not complete.

        Raises LedgerUnavailable when Postgres does not answer: then nothing may have been erased.
        """
        id_ = self._database.patiently(lambda: erasures.begin(self._database, scope, hold=HOLD))
        if scope.conversation_id is None:
            self._forget_user(scope.user_id)
        self._database.patiently(lambda: self.go_on(id_))
        return self.receipt(id_)

    def receipt(self, id_: UUID) -> Receipt:
        """What an erasure has removed so far. Raises ReceiptNotFound, LedgerUnavailable."""
        return self._database.patiently(lambda: erasures.receipt(self._database, id_))

    def resume(self) -> int:
        """Go on with what nobody has finished. Returns how many erasures that were.

        One that Postgres does not go on with is put off, and keeps no other waiting. Raises what
        `database.UNAVAILABLE` lists.
        """
        found = erasures.resume(self._database, most=MOST, hold=HOLD)
        for id_ in found:
            try:
                self.go_on(id_)
            except psycopg.Error as fault:
                signals.erasing_failed("postgres")
                log.warning("erasure_put_off", erasure_id=str(id_), error=type(fault).__name__)
                erasures.failed(self._database, id_)
        return len(found)

    def go_on(self, id_: UUID) -> None:
        """Remove what an erasure has still to remove. Raises what `database.UNAVAILABLE` lists."""
        known = erasures.unfinished(self._database, id_)
        if known is None:
            return
        for handful in erasures.handfuls(self._database, known.sessions):
            self._erase_sessions(id_, handful)
        erasures.rows_gone(self._database, id_, known.sessions)
        self.remove_objects(id_)
        self._remove_streams(id_)
        erasures.finish(self._database, id_)
        if erasures.unfinished(self._database, id_) is None:
            signals.erased()
            log.info("erased", erasure_id=str(id_))

    def remove_objects(self, erasure_id: UUID | None) -> int:
        """Remove the objects of an erasure, or those of archives that have expired. Returns how many that were."""
        removed = 0
        while names := erasures.condemned(self._database, erasure_id):
            with ThreadPoolExecutor(HANDS, thread_name_prefix="pipeline-erasure") as hands:
                gone = [
                    name for name, is_gone in zip(names, hands.map(self._remove_object, names), strict=True) if is_gone
                ]
            erasures.removed(self._database, gone)
            removed += len(gone)
            if len(gone) < len(names):
                erasures.not_removed(self._database, sorted({*names} - {*gone}))
        return removed

    def _erase_sessions(self, id_: UUID, session_ids: Sequence[int]) -> None:
        settings = self._settings
        gone = erasures.erase(
            self._database,
            id_,
            session_ids,
            streams_kept=settings.stream_seconds + MARGIN,
            concurrency=settings.user_concurrency,
        )
        for worker, request in gone.running:
            self._courier.cancel(worker, request)
        self._courier.tell(gone.cancelled)
        self._courier.carry(gone.publications)

    def _remove_object(self, name: str) -> bool:
        try:
            self._storage.delete(name)
        except (StorageFailed, ConfigurationError) as fault:
            kind = fault.kind if isinstance(fault, StorageFailed) else type(fault).__name__
            signals.erasing_failed("storage")
            log.warning("object_not_removed", error=kind)
            return False
        return True

    def _forget_user(self, user_id: str) -> None:
        try:
            remove_user(self._client, user_id)
        except BrokerUnavailable as fault:  # these keys have an end of their own
            signals.erasing_failed("broker")
            log.warning("user_keys_not_removed", error=type(fault.__cause__ or fault).__name__)

    def _remove_streams(self, id_: UUID) -> None:
        """After the objects, which take longer: by then a worker that was told to stop has stopped writing."""
        known = erasures.unfinished(self._database, id_)
        if known is None or not known.streams:
            return
        try:
            remove_streams(self._client, known.streams)
            rewrite_files(self._client, id_, len(known.streams))
        except BrokerUnavailable as fault:
            signals.erasing_failed("broker")
            log.warning("streams_not_removed", erasure_id=str(id_), error=type(fault.__cause__ or fault).__name__)
            erasures.failed(self._database, id_)
            return
        erasures.streams_gone(self._database, id_, known.streams)

    @once
    def _storage(self) -> Storage:
        return self._open_storage()
