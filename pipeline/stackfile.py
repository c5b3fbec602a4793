"""Where a running local stack says what it is: a small file that only its owner can read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import ConfigurationError

#: Seconds by which a file's time and a process's may differ where they are the same.
CLOCKS_APART = 1.0


@dataclass(frozen=True, slots=True)
class Stack:
    """The addresses of a running stack. `pid` is that of its supervisor."""

    pid: int
    database_url: str
    broker_url: str
    simulator_url: str | None = None
    flower_url: str | None = None
    flower_user: str | None = None
    flower_password: str | None = None
    cold_storage_url: str | None = None


def path() -> Path:
    """The state file: `CITE_AGENT_STACK_FILE`, or `stack.json` in the home's `.cite_agent`."""
    given = os.environ.get("CITE_AGENT_STACK_FILE")
    return Path(given) if given else Path.home() / ".cite_agent" / "stack.json"


def read() -> Stack | None:
    """The running stack, or None where there is none. A file left behind by a killed one counts as none, also where
    another process has its number by now.

    Raises ConfigurationError for a file that is none of ours, or of another version.
    """
    try:
        stack = Stack(**json.loads(path().read_text()))
        return stack if _runs(stack.pid) else None
    except FileNotFoundError:
        return None
    except (OverflowError, TypeError, ValueError) as wrong:
        raise ConfigurationError(
            f"{path()} is no state file of this version's `pipeline up` ({type(wrong).__name__}): "
            "stop the stack that it is of, take the file away, and start `pipeline up` again"
        ) from None


def write(stack: Stack) -> None:
    """Publish the stack's addresses, readable by its owner alone."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(stack), file)
    draft.replace(target)


def remove() -> None:
    """Take the file away."""
    path().unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    return _is_alive(pid) and not _is_younger_than_file(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_younger_than_file(pid: int) -> bool:
    """Whether the process began after the file was written: then it only has the number of one that died.

    Not known, and so taken for no, where what runs a stack is not installed, or the process is another user's.
    """
    try:
        import psutil
    except ImportError:
        return False
    try:
        return bool(psutil.Process(pid).create_time() > path().stat().st_mtime + CLOCKS_APART)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
