"""Verify: that every archive is there and whole, that no number is missing, and that nothing else lies about."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline.archive.reading import fetch
from pipeline.archive.storage import STAGED, Storage
from pipeline.errors import ArchiveDamaged, ObjectNotFound, StorageFailed
from pipeline.store.archives import Archive, audit
from pipeline.store.database import Database

#: Archives that are read at the same time: so many are in memory at once.
HANDS = 4

#: Objects whose rows are looked up at once.
CHUNK = 500

#: Reads that fail in a row before storage counts as away.
PATIENCE = 5

#: What an object of ours is called; whatever else is there is somebody else's, and left alone.
OURS = re.compile(r"^[^_]+_[^_]+_\d{8}T\d{6}\.\d{6}Z\.json(\.zst)?(#\d+)?$")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `kind` is one of `missing`, `damaged`, `unreadable`, `incomplete` and
    `orphan`, `what` an object's name, or a conversation; `fixed` tells whether it is now."""

    kind: str
    what: str
    why: str
    fixed: bool = False


@dataclass
class Verdict:
    """What was looked at, and how many findings of each kind there are that are not fixed."""

    archives: int = 0
    messages: int = 0
    sessions: int = 0
    strangers: int = 0
    fixed: int = 0
    findings: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not self.findings


@dataclass
class Verifier:
    """Looks at all of it. `tell` is given each finding as it is made; `fix` removes orphans.

    An orphan is an object that the database does not know: another database's archives are orphans to this one.
    """

    database: Database
    storage: Storage
    tell: Callable[[Finding], None]
    fix: bool = False

    def verify(self) -> Verdict:
        """Look. Raises StorageFailed where storage is away, and what `database.UNAVAILABLE` lists."""
        verdict = Verdict()
        for finding in itertools.chain(self._archives(verdict), self._sessions(verdict), self._orphans(verdict)):
            if finding.fixed:
                verdict.fixed += 1
            else:
                verdict.findings[finding.kind] = verdict.findings.get(finding.kind, 0) + 1
            self.tell(finding)
        return verdict

    def _archives(self, verdict: Verdict) -> Iterator[Finding]:
        failed = 0
        with ThreadPoolExecutor(HANDS, thread_name_prefix="pipeline-verify") as hands:
            for batch in _chunks(audit.all_live(self.database), HANDS * 4):
                for archive, finding in zip(batch, hands.map(self._look_at, batch), strict=True):
                    verdict.archives += 1
                    verdict.messages += archive.last_number - archive.first_number + 1
                    failed = failed + 1 if finding is not None and finding.kind == "unreadable" else 0
                    if failed >= PATIENCE:
                        raise StorageFailed("get", "it failed again and again")
                    if finding is not None:
                        yield finding

    def _look_at(self, archive: Archive) -> Finding | None:
        try:
            fetch(self.storage, archive)
        except StorageFailed as fault:
            return Finding("unreadable", archive.name, fault.kind)
        except ArchiveDamaged as damage:
            if not audit.is_live(self.database, archive.id):
                return None  # restored, expired or erased since
            return Finding("missing" if isinstance(damage, ObjectNotFound) else "damaged", archive.name, damage.why)
        return None

    def _sessions(self, verdict: Verdict) -> Iterator[Finding]:
        for user, conversation, complete in audit.completeness(self.database):
            verdict.sessions += 1
            if not complete:
                yield Finding("incomplete", f"{conversation!r} of {user!r}", "numbers are missing, or there twice")

    def _orphans(self, verdict: Verdict) -> Iterator[Finding]:
        for names in _chunks(self.storage.names(), CHUNK):
            ours = [name for name in names if OURS.match(name)]
            verdict.strangers += len(names) - len(ours)
            # after the listing: whatever is wanted had its row before its object
            known = audit.wanted(self.database, {STAGED.sub("", name) for name in ours})
            for name in ours:
                base = STAGED.sub("", name)
                if base not in known:
                    yield self._orphan(name, "no archive refers to it")
                elif base != name and known[base] == "live":
                    yield self._orphan(name, "it was left half written")

    def _orphan(self, name: str, why: str) -> Finding:
        if self.fix:
            self.storage.delete(name)
        return Finding("orphan", name, why, fixed=self.fix)


def _chunks(items: Iterable[str] | Iterable[Archive], size: int) -> Iterator[list]:  # type: ignore[type-arg]  # of either
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
