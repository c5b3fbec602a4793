"""docker-compose.yml, started as its first lines say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Compose:
    """A project of its own. `settings` are what .env would hold; nothing else of this machine's is taken."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, str]) -> None:
        file = folder / "env"
        file.write_text("".join(f"{key}='{value}'\n" for key, value in settings.items()))
        self._command = ["docker", "compose", "--project-name", name, "--env-file", str(file)]
        self._environment = {
            key: value for key, value in os.environ.items() if key in {"HOME", "PATH"} or key.startswith("DOCKER_")
        }

    def up(self, services: Sequence[str]) -> None:
        """Start these, and wait until all of them are healthy."""
        self._run("up", "--detach", "--no-build", "--wait", "--wait-timeout", "180", *services)

    def inside(self, service: str, *command: str) -> str:
        """What a command says in that service's container."""
        return self._run("exec", "-T", service, *command)

    def logs(self) -> str:
        """The end of everybody's."""
        return self._run("logs", "--tail", "20", "--no-color")

    def down(self) -> None:
        """Stop all of it, and leave nothing."""
        self._run("down", "--volumes", "--remove-orphans", "--timeout", "10")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env=self._environment,
            check=False,
            timeout=300,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def missing() -> str | None:
    """Why there is no Compose here, where that is so."""
    try:
        found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        return "the command docker is not installed"
    return None if found.returncode == 0 else "docker has no plugin compose"
