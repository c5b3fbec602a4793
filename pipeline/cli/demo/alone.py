"""A place of its own: no setting of the user's reaches the demo, and nothing of the demo's stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import settings


@contextmanager
def alone() -> Iterator[Path]:
    """A temporary working folder, without settings from the environment or a `.env` file, while the block runs."""
    before, came_from = dict(os.environ), Path.cwd()
    with TemporaryDirectory(prefix="pipeline-demo-", ignore_cleanup_errors=True) as folder:
        for name in before:
            if name.upper().startswith("CITE_AGENT_"):
                del os.environ[name]
        os.environ["CITE_AGENT_STACK_FILE"] = str(Path(folder) / "stack.json")
        if paths := before.get("PYTHONPATH"):
            os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths.split(os.pathsep))
        os.chdir(folder)
        settings.current.cache_clear()
        try:
            yield Path(folder)
        finally:
            os.chdir(came_from)
            os.environ.clear()
            os.environ.update(before)
            settings.current.cache_clear()
