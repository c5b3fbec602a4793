"""The state file of a running stack: one at a time, and nobody takes away another's."""

from __future__ import annotations

import os

import psutil

from pipeline import stackfile
from pipeline.local.errors import LocalStackError


def refuse_second() -> None:
    """Raises LocalStackError when another stack has announced itself and still runs."""
    other = stackfile.read()
    if other is None or other.pid == os.getpid() or _is_younger_than_file(other.pid):
        return
    raise LocalStackError(
        f"a stack runs already (process {other.pid}, announced in {stackfile.path()}); "
        "stop it first, or name another file in CITE_AGENT_STACK_FILE"
    )


def announce(stack: stackfile.Stack) -> None:
    """Let clients find this stack. Raises LocalStackError when another one is there."""
    refuse_second()
    stackfile.write(stack)


def withdraw() -> None:
    """Take our announcement back."""
    stack = stackfile.read()
    if stack is not None and stack.pid == os.getpid():
        stackfile.remove()


def _is_younger_than_file(pid: int) -> bool:
    """Whether the process began after the file was written: then it only has the number of one that died."""
    try:
        return bool(psutil.Process(pid).create_time() > stackfile.path().stat().st_mtime + 1)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True
