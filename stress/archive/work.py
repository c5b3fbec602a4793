"""One side's work in a process of its own, so that its memory is its own: `python -m stress.archive.work SIDE …`."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import structlog

from pipeline.archive.archiver import Archiver
from pipeline.archive.storage import Folder
from pipeline.archive.summary import Extractive
from pipeline.archive.sweep import HANDFUL
from pipeline.store.archives import Rules
from pipeline.store.database import Database
from stress.archive import baseline

#: Threads that archive: the slots of a worker for upkeep.
SLOTS = 4

#: Seconds between two looks at the memory.
LOOK = 0.05

RULES = Rules(most_hot=50, threshold=100, window=10, age=3600, idle=30 * 86400)


def main() -> None:
    """Archive what is left hot of the sessions FIRST to LAST, and print what it took."""
    side, url, folder, first, last = sys.argv[1:]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    database, storage = Database(url, size=8), Folder(Path(folder))
    ids = range(int(first), int(last) + 1)
    archiver = Archiver(database, storage, Extractive(), RULES)

    def ours() -> int:
        handfuls = [list(ids[start : start + HANDFUL]) for start in range(0, len(ids), HANDFUL)]
        with ThreadPoolExecutor(SLOTS) as pool:
            return sum(report.messages for report in pool.map(archiver.archive, handfuls))

    work: Callable[[], int] = {"ours": ours, "baseline": lambda: _baseline(database, storage, ids)}[side]
    with database.connection() as connection:
        connection.execute("SELECT 1")
    with _watched() as memory:
        began = time.perf_counter()
        messages = work()
        seconds = time.perf_counter() - began
    print(json.dumps({"messages": messages, "seconds": seconds, "before": memory[0], "peak": max(memory)}))
    archiver.close()
    database.close()


def _baseline(database: Database, storage: Folder, ids: Sequence[int]) -> int:
    return baseline.archive(database, storage, ids, RULES.window)


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Megabytes of this process while the block runs, again and again."""
    process, over = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss / 1e6]

    def watch() -> None:
        while not over.wait(LOOK):
            seen.append(process.memory_info().rss / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    over.set()
    thread.join()


if __name__ == "__main__":
    main()
