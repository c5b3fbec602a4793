"""The two sides: how each one's workers are started, and with what."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from stress.overhead.servers import Servers


@dataclass(frozen=True, slots=True)
class Setup:
    """What both sides have in common."""

    servers: Servers
    processes: int
    slots: int


@dataclass(frozen=True, slots=True)
class Side:
    """A Celery application and the variables that its processes want."""

    name: str
    app: str
    options: tuple[str, ...]
    environment: Callable[[Setup], dict[str, str]]

    def command(self, number: int) -> list[str]:
        """Start the worker of this number."""
        return [sys.executable, "-m", "celery", "-A", self.app, "worker", "-n", f"w{number}@%h", *self.options]


def _bare(setup: Setup) -> dict[str, str]:
    return {
        "BARE_DATABASE_URL": setup.servers.database_url,
        "BARE_BROKER_URL": setup.servers.broker_url,
        "BARE_SLOTS": str(setup.slots),
    }


def _pipeline(setup: Setup) -> dict[str, str]:
    return {
        "CITE_AGENT_DATABASE_URL": setup.servers.database_url,
        "CITE_AGENT_BROKER_URL": setup.servers.broker_url,
        "CITE_AGENT_WORKER_SLOTS": str(setup.slots),
        "CITE_AGENT_AGENTS": "stress.overhead.agent",
    }


BARE = Side("bare", "stress.overhead.bare.app", ("--without-gossip", "--without-mingle", "--without-heartbeat"), _bare)
PIPELINE = Side("pipeline", "pipeline", (), _pipeline)
