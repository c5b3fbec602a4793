"""Turns, archiving and restoring of the same sessions at once: nobody waits for ever, nothing is lost or twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pipeline.archive import restoring
from pipeline.archive.storage import Folder
from pipeline.errors import ArchiveBusy, ObjectNotFound
from pipeline.store.database import Database
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library
from tests.servers import eventually
from tests.store.desk import Desk, answered, new

#: Sessions, and turns of each.
NAMES, TURNS = [f"c{number}" for number in range(6)], 60


def converse(desk: Desk, names: Sequence[str]) -> None:
    """Batches that hold several sessions' rows, in this order."""
    for _ in range(TURNS):
        batch = [new(conversation=name) for name in names]
        desk.accept(*batch)
        desk.end(*(answered(one) for one in desk.claim(*(one.id for one in batch))))


def restore(store: Database, storage: Folder) -> None:
    for name in NAMES:
        try:
            restoring.restore(store, storage, "ada", name, grace=0)
        except (ArchiveBusy, ObjectNotFound):
            continue  # somebody else is at it


def repeat(over: threading.Event, verb: Callable[[], object]) -> None:
    while not over.is_set():
        verb()


def test_turns_archiving_and_restoring_at_once_lose_nothing(
    make_archiver: MakeArchiver, library: Library, store: Database, storage: Folder
) -> None:
    ids = [library.converse(1, conversation=name) for name in NAMES]
    over = threading.Event()
    verbs: list[Callable[[], object]] = [partial(make_archiver().archive, ids, force=True) for _ in range(2)]
    verbs.append(partial(restore, store, storage))
    with ThreadPoolExecutor(5) as threads:
        others = [threads.submit(repeat, over, verb) for verb in verbs]
        speakers = [
            threads.submit(converse, Desk(store, concurrency=100), names) for names in (NAMES[:3], NAMES[:2:-1])
        ]
        try:
            for speaker in speakers:
                speaker.result(120)
            # the others go on until chance has let each session be restored
            eventually(
                lambda: all("restored" in library.statuses(session) for session in ids), what="all were restored"
            )
        finally:
            over.set()
        for other in others:
            other.result(60)
    for session in ids:
        assert len(library.read(session)) == 2 * (TURNS + 1)
        library.assert_whole(session)
