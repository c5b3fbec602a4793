"""Metrics of a worker whose tasks run in child processes: prometheus_client's multiprocess mode, kept tidy.

Each child writes files of its own, which outlive it. The parent serves them together, and folds those of dead
children into one, so that a child that is replaced every few tasks leaves nothing behind. The folder is one worker's
alone: two would serve each other's counts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from pipeline.errors import ConfigurationError

#: Says where the files are; prometheus_client reads it when it is imported.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: Stands for the process id in the name of the file into which the dead are folded.
FOLDED = "folded"


def folder() -> Path | None:
    """Where the processes write, or None where each keeps its counts to itself."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else None


class Family:
    """The processes that write into `folder`: this one and its children.

    Raises ConfigurationError where another worker's do.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._hold = (folder / "lock").open("w")
        try:
            fcntl.flock(self._hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._hold.close()
            raise ConfigurationError(
                f"{VARIABLE}: {folder} is another worker's; give each worker a folder of its own"
            ) from None
        for left in self._files():
            if _owner(left) != str(os.getpid()):
                left.unlink()  # of a former worker, which has handed on what it could

    def collect(self) -> Iterable[Metric]:
        """What all of them have counted, the dead included."""
        with self._lock:
            self._fold()
            begun = [str(file) for file in self._files() if _is_begun(file)]
            return list(MultiProcessCollector.merge(begun, accumulate=True))

    def close(self) -> None:
        """Let another have the folder."""
        self._hold.close()

    def _fold(self) -> None:
        for file in self._files():
            kind, owner = file.name.split("_")[0], _owner(file)
            if owner == FOLDED or _is_alive(owner):
                continue
            if kind != "gauge" and _is_begun(file):  # a gauge says what is, and the dead are not
                self._add(file, self._folder / f"{kind}_{FOLDED}.db")
            file.unlink()

    def _add(self, dead: Path, folded: Path) -> None:
        draft = folded.with_suffix(".draft")
        if folded.exists():
            shutil.copyfile(folded, draft)
        else:
            draft.unlink(missing_ok=True)
        sums = MmapedDict(str(draft))
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(dead)):
            sums.write_value(key, sums.read_value(key)[0] + value, 0)
        sums.close()
        draft.replace(folded)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.db"))


def _owner(file: Path) -> str:
    return file.stem.rpartition("_")[2]


def _is_begun(file: Path) -> bool:
    """Whether it can be read. It is empty at first, and whoever made it may have died in that moment."""
    return file.stat().st_size > 0


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
