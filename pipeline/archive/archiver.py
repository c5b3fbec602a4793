"""The archiver: takes sessions, writes their oldest messages to cold storage, and lets them go once they are there.

Killed at any point it has lost nothing: a pending row without its object is written again, to the same bytes under the
same name; an object whose row is still pending is overwritten; only in the transaction that makes an archive live do
its messages go.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from pipeline import signals
from pipeline.archive.document import digest, serialize, spoken
from pipeline.archive.names import object_name
from pipeline.archive.storage import Storage
from pipeline.archive.summary import Rolling, Summariser
from pipeline.errors import ArchiveDamaged, StorageFailed
from pipeline.once import once
from pipeline.store import archives
from pipeline.store.archives import Pending, Rules, Summary, Written
from pipeline.store.database import Database

log = structlog.get_logger(__name__)

#: Sessions whose archives are committed together. Their rows are held for that long, so a turn of theirs waits for it.
BATCH = 32

#: Bytes of history that are in memory at once, unless one archive alone has more.
AT_ONCE = 4_000_000

#: Objects that are written at the same time; with summaries by a provider, for which most of the time is waited, more.
HANDS, WAITING_HANDS = 4, 32

#: Tries to commit an archive whose session is held by somebody, and the seconds in between.
PATIENCE, PAUSE = 40, 0.05


@dataclass
class Report:
    """What came of it. `failed` are the archives that are left for later."""

    archives: int = 0
    messages: int = 0
    failed: int = 0


@dataclass
class Archiver:
    """Archives what is due of the sessions that it is given. Safe to use from many threads at once."""

    database: Database
    storage: Storage
    summariser: Summariser
    rules: Rules
    compression: str = "zstd"
    hands: int = HANDS
    _stopping: threading.Event = field(default_factory=threading.Event)

    def archive(self, session_ids: Sequence[int], *, force: bool = False, whole: bool = False) -> Report:
        """Archive what is due of these sessions; with `force` even of those that are not; with `whole` all of it.

        What storage does not take stays hot, counted and to be tried again. Raises what `database.UNAVAILABLE` lists.
        """
        report = Report()
        waiting = list(dict.fromkeys(session_ids))
        while waiting and not self._stopping.is_set():
            batch, waiting = waiting[:BATCH], waiting[BATCH:]
            more = self._archive(batch, report, force=force, whole=whole)
            while more and not self._stopping.is_set():
                more = self._archive(more, report, force=True, whole=whole)  # what was begun is brought to its end
        return report

    def stop(self) -> None:
        """Begin no further batch; the sweep finds what is left."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the threads."""
        self.stop()
        if "_hands" in self.__dict__:
            self._hands.shutdown()

    def _archive(self, session_ids: Sequence[int], report: Report, *, force: bool, whole: bool) -> list[int]:
        """One batch. Returns the sessions of which more is to follow."""
        found = archives.candidates(self.database, session_ids)
        names = [
            (one, object_name(one.user_id, one.conversation_id, one.archived_at, self.compression)) for one in found
        ]
        taken = archives.take(self.database, names, self.rules, force=force, whole=whole)
        more = []
        for group in _grouped(taken):
            written = self._write(group, report)
            done = self._commit(written, group, report)
            self._discard_erased(group, {one.id for one in written} - done)
            more += [one.session_id for one in group if one.more and one.id in done]
        return more

    def _write(self, group: Sequence[Pending], report: Report) -> list[Written]:
        histories = archives.histories(self.database, group)
        summaries = archives.summaries(self.database, [one.session_id for one in group])
        jobs = [
            self._hands.submit(self._write_one, one, history, summaries.get(one.session_id))
            for one in group
            if (history := histories.get(one.id)) is not None  # else it was erased meanwhile
        ]
        written = [job.result() for job in jobs]
        report.failed += written.count(None)
        return [one for one in written if one is not None]

    def _write_one(self, pending: Pending, history: str, old: Summary | None) -> Written | None:
        """Write an object, read it back, compare. Returns None when it is not there as it should be."""
        data = serialize(pending, history)
        sha256 = digest(data)
        try:
            self._keep(pending.name, data, sha256)
        except (StorageFailed, ArchiveDamaged) as fault:
            self._fail(pending, fault.kind if isinstance(fault, StorageFailed) else type(fault).__name__)
            return None
        known = old.through_number if old else 0
        messages = [spoken(entry) for entry in json.loads(history)] if pending.last_number > known else []
        return Written(pending.id, sha256, len(data), Rolling(self.summariser).next(old, messages))

    def _keep(self, name: str, data: bytes, sha256: bytes) -> None:
        self.storage.put(name, data)
        if digest(self.storage.get(name)) != sha256:
            raise ArchiveDamaged(name, "it was not read back as it was written")

    def _commit(self, written: Sequence[Written], group: Sequence[Pending], report: Report) -> set[int]:
        """Make the group's archives live. Returns those that are; one that is neither live nor left was erased."""
        done: dict[int, int] = {}
        left = list(written)
        for _ in range(PATIENCE):
            if not left:
                break
            batch = left
            finished = self.database.patiently(lambda batch=batch: archives.finish(self.database, batch, self.rules))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            done.update(finished.done)
            left = [one for one in left if one.id in finished.left]
            if left:
                time.sleep(PAUSE)
        held = {one.id for one in left}
        for pending in group:
            if pending.id in held:
                self._fail(pending, "SessionBusy")
        report.failed += len(held)
        report.archives += len(done)
        report.messages += sum(done.values())
        signals.archived(archives=len(done), messages=sum(done.values()))
        return set(done)

    def _discard_erased(self, group: Sequence[Pending], not_live: set[int]) -> None:
        """Whoever erased a session while its archive was being written could not know when that would be there."""
        erased = archives.erased(self.database, not_live) if not_live else ()
        for one in group:
            if one.id in erased:
                try:
                    self.storage.delete(one.name)
                except StorageFailed as fault:  # the erasure removes it once more
                    signals.erasing_failed("storage")
                    log.warning("object_not_removed", archive_id=one.id, error=fault.kind)

    def _fail(self, pending: Pending, error: str) -> None:
        signals.archiving_failed(error)
        log.warning("archiving_failed", archive_id=pending.id, error=error, failures=pending.failures + 1)
        archives.failed(self.database, pending.id, error)

    @once
    def _hands(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.hands, thread_name_prefix="pipeline-archive")


def _grouped(taken: Sequence[Pending]) -> Iterator[list[Pending]]:
    group: list[Pending] = []
    size = 0
    for one in taken:
        if group and size + one.size > AT_ONCE:
            yield group
            group, size = [], 0
        group.append(one)
        size += one.size
    if group:
        yield group
