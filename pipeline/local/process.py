"""Processes: starting ones that do not outlive us, and dealing with those that did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline.local.accounts import Account

#: Seconds between two looks at a condition.
POLL = 0.02
#: Bytes of a log that an error quotes.
TAIL = 2_000
#: Bytes after its start in which a program says that it is ready.
HEAD = 200_000

#: Linux sends the death signal when the *thread* that started a process ends, so one that never does starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start: as whom (None: as us), where, and which signal it gets when this process dies."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = field(default_factory=Path.cwd)
    account: Account | None = None
    death_signal: signal.Signals = signal.SIGKILL


def spawn(launch: Launch) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that a terminal's Ctrl-C reaches us alone. Its output goes to the log."""
    return _starter.submit(_spawn, launch).result()


def _spawn(launch: Launch) -> subprocess.Popen[bytes]:
    account = launch.account or Account(-1, -1)
    facts = (os.getpid(), int(launch.death_signal), account.uid, account.gid, launch.folder)
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), *map(str, facts)]
    with launch.log.open("ab") as log:
        return subprocess.Popen(
            [*launcher, *launch.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(launch.environment),
            start_new_session=True,
        )


def _renew_starter() -> None:
    global _starter  # noqa: PLW0603 - a process has one, and a forked one needs its own
    _starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


# A fork leaves the thread behind, and the next start would wait for it for ever.
os.register_at_fork(after_in_child=_renew_starter)


def wait_until(condition: Callable[[], bool], timeout: float, *, unless: threading.Event | None = None) -> bool:
    """Whether the condition came true within `timeout` seconds, and before `unless` was set."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end or (unless is not None and unless.is_set()):
            return False
        time.sleep(POLL)
    return True


def tail(log: Path, start: int = 0) -> str:
    """The end of a log, from byte `start` on at the earliest."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - TAIL))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def head(log: Path, start: int) -> str:
    """What a log says from byte `start` on, the first of it."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read(HEAD).decode(errors="replace")
    except FileNotFoundError:
        return ""


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty when it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(processes: Sequence[psutil.Process], what: signal.Signals) -> None:
    """Send a signal to those that are still there; psutil makes sure that a process id was not used again."""
    for process in processes:
        try:
            process.send_signal(what)
        except psutil.NoSuchProcess:
            continue


def at_work_in(folder: Path, name: str) -> list[psutil.Process]:
    """The processes of that name whose working folder is this one."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == name and folder.samefile(process.cwd()):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found


def end(processes: Sequence[psutil.Process], *signals: signal.Signals, grace: float) -> None:
    """Send one signal after the other, `grace` seconds apart, and SIGKILL at last, until all are gone."""
    for what in (*signals, signal.SIGKILL):
        send(processes, what)
        if wait_until(lambda: all_gone(processes), grace):
            return


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether none of them runs any more. One that its parent has yet to collect does not."""
    return not any(_runs(process) for process in processes)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
