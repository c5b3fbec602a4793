"""What can go wrong with a stack on this machine."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigurationError, PipelineError


class LocalStackError(PipelineError):
    """The local stack cannot run."""


class StackInterrupted(LocalStackError):
    """The local stack was told to stop before it had started."""


class DataInUse(LocalStackError):
    """Another stack runs on these data."""

    def __init__(self, data: Path, pid: str) -> None:
        self.data = data
        super().__init__(
            f"another stack (process {pid or 'unknown'}) runs on {data}; "
            "stop it first, or give this one a data folder of its own"
        )


class DataRefused(LocalStackError, ConfigurationError):
    """The folder is not one for a stack's data; nothing in it was touched."""

    def __init__(self, data: Path, why: str) -> None:
        self.data = data
        super().__init__(f"--data {data}: {why}; name a new or an empty folder, or one that a stack has made")


class NotReady(LocalStackError):
    """A program ended, or said nothing, before it was ready. `tail` is the end of its log."""

    def __init__(self, name: str, what: str, log: Path, tail: str) -> None:
        self.name = name
        self.tail = tail
        super().__init__(f"{name} {what}; the end of {log}:\n{tail or '(empty)'}")
