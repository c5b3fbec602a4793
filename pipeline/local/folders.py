"""The folders of a stack: its data, locked while it runs, and the short-lived ones that hold its sockets."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from pipeline.local.accounts import Account
from pipeline.local.errors import DataInUse, DataRefused

#: A socket's path may have 103 bytes on macOS, 107 on Linux.
SOCKET_PATH_LIMIT = 100
#: The longest name that a server gives its socket.
LONGEST_SOCKET = ".s.PGSQL.5432"
PREFIX = "cap-"
#: The file by which a data folder is known as ours.
MARK = ".cite_agent-data"
#: What a file system has at its root from the first.
LOST_AND_FOUND = "lost+found"
#: What a stack of a version that left no mark has at least left beside its lock.
TRACES = ("postgres/PG_VERSION", "valkey/appendonlydir", "logs/postgres.log", "logs/valkey.log", "logs/worker1.log")


def default_data() -> Path:
    """Where a stack keeps its data when it is not told."""
    return Path.home() / ".cite_agent" / "data"


def claim(data: Path) -> Path:
    """The folder of a stack's data, made for us alone where it is missing, and marked as ours.

    One that is there keeps its mode. Raises DataRefused for one that holds what is not ours, or cannot be used.
    """
    try:
        if not data.exists():
            data.mkdir(parents=True, mode=0o700)
        elif not _is_ours(data) and any(entry.name != LOST_AND_FOUND for entry in data.iterdir()):
            raise DataRefused(data, "it holds files that are not a stack's")
        (data / MARK).touch(mode=0o600)
    except OSError as fault:
        raise DataRefused(data, fault.strerror or str(fault)) from fault
    return data


def _is_ours(data: Path) -> bool:
    return (data / MARK).exists() or ((data / "lock").is_file() and any((data / trace).exists() for trace in TRACES))


def private(folder: Path, account: Account | None = None) -> Path:
    """The folder, made where it is missing, for one user alone: ours, or the one given."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder


def for_sockets(account: Account | None = None) -> Path:
    """A fresh folder of mode 0700 whose path is short enough for a socket, however long that of the data is."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    room = SOCKET_PATH_LIMIT - len(f"/{PREFIX}12345678/{LONGEST_SOCKET}")
    # another user could not enter our runtime folder
    fits = account is None and 0 < len(os.fsencode(runtime)) <= room and os.access(runtime, os.W_OK | os.X_OK)
    # not the temporary folder of the environment, which may be long
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=runtime if fits else "/tmp")  # noqa: S108
    return private(Path(folder), account)


class DataLock:
    """One stack at a time on a data folder. It also remembers the socket folders, for the next one to tidy up."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._file: IO[str] | None = None
        self._sockets: list[Path] = []

    def acquire(self) -> None:
        """Take the folder. Raises DataInUse while another process has it, DataRefused for one that is not for us."""
        file = (claim(self._data) / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.readline().strip()
            file.close()
            raise DataInUse(self._data, pid) from None
        self._file = file
        file.seek(0)
        for left_behind in file.read().splitlines()[1:]:
            remove_sockets(Path(left_behind))
        file.truncate(0)
        self._note(os.getpid())

    def sockets(self, account: Account | None = None) -> Path:
        """A fresh folder for sockets, which goes when the lock is released, or when the next one acquires it."""
        folder = for_sockets(account)
        self._sockets.append(folder)
        self._note(folder)
        return folder

    def _note(self, fact: int | Path) -> None:
        if self._file is not None:
            print(fact, file=self._file, flush=True)

    def release(self) -> None:
        """Let go; a process that dies lets go, too."""
        if self._file is None:
            return
        while self._sockets:
            remove_sockets(self._sockets.pop())
        self._file.truncate(0)
        self._file.close()
        self._file = None


def remove_sockets(folder: Path) -> None:
    """Remove a folder that `for_sockets` made."""
    if folder.name.startswith(PREFIX) and folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
