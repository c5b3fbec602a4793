"""The state file of a running stack: one at a time, and nobody takes away another's."""

from __future__ import annotations

import os

from pipeline import stackfile
from pipeline.local.errors import LocalStackError


def refuse_second() -> None:
    """Raises LocalStackError when another stack has announced itself and still runs."""
    other = stackfile.read()
    if other is None or other.pid == os.getpid():
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
