"""Where faults strike: the stack, its load, and a look into its ledger."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import redis

from pipeline.local import process
from pipeline.local.postgres import Postgres
from pipeline.local.program import Program
from pipeline.local.stack import LocalStack
from pipeline.local.valkey import Valkey
from pipeline.settings import Settings
from stress.chaos.fault import CALM, WANTED, CannotStrike, Level, Touched
from stress.chaos.ledger import Ledger
from stress.chaos.volume import Volume
from stress.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds for the load to bring about what a fault wants to find, and for the stack to be whole again after one.
PATIENCE = 90.0

#: Seconds between two looks.
POLL = 0.1

#: Waiting requests with which the load is no longer behind.
CAUGHT_UP = 10

#: Why a fault was not made, or not to its end.
GIVEN_UP = "the run was given up"


@dataclass(frozen=True)
class Scene:
    """What a fault is given. `volumes` are the stack's folders that are file systems of their own, by their name;
    `why_no_volumes` says why there are none. Once `giving_up` is set, nothing is waited for any more."""

    target: Target
    ledger: Ledger
    random: Random
    seed: int
    volumes: Mapping[str, Volume]
    why_no_volumes: str = ""
    giving_up: threading.Event = field(default_factory=threading.Event)

    @property
    def stack(self) -> LocalStack:
        assert self.target.stack is not None
        return self.target.stack

    @property
    def settings(self) -> Settings:
        return self.target.settings

    @property
    def postgres(self) -> Postgres:
        return next(server for server in self.stack.servers if isinstance(server, Postgres))

    @property
    def broker(self) -> Valkey:
        return next(server for server in self.stack.servers if isinstance(server, Valkey))

    def program(self, name: str) -> Program:
        """Of that name in the stack."""
        return next(program for program in self.stack.programs if program.name == name)

    def any_worker(self) -> Program:
        """One of those that answer requests, by chance."""
        return self.random.choice(self.stack.workers)

    def play(self, level: Level = CALM, **more: object) -> None:
        """Have the provider behave so from its next call on."""
        self.target.play(level.behaviour(self.seed, **more))

    def hold(self, seconds: float) -> None:
        """Let what was done last so long. Raises CannotStrike as soon as the run is given up."""
        if self.giving_up.wait(seconds):
            raise CannotStrike(GIVEN_UP)

    def comes_true(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it does, within so many seconds. Raises CannotStrike where the run is given up first."""
        true = process.wait_until(condition, seconds, unless=self.giving_up)
        if not true and self.giving_up.is_set():
            raise CannotStrike(GIVEN_UP)
        return true

    def enough(self, look: Callable[[], Touched], least: float = WANTED, most: float = math.inf) -> Touched:
        """What would be touched, as soon as that many requests would; whatever there is when patience ends. Raises
        CannotStrike where the run is given up first."""
        end = time.monotonic() + PATIENCE
        while not least <= len(found := look()) <= most and time.monotonic() < end:
            self.hold(POLL)
        return found

    def at_level(self, look: Callable[[], Touched], least: float, most: float = math.inf) -> Touched:
        """The same, for a fault that is none at another level: it strikes at once. Raises CannotStrike at any other."""
        found = self.enough(look, least, most)
        if not least <= len(found) <= most:
            wanted = f"at least {math.ceil(least)}" if most == math.inf else f"{math.ceil(least)} to {math.floor(most)}"
            raise CannotStrike(f"{len(found)} requests to touch after {PATIENCE:g} s, not {wanted}")
        return found

    def volume(self, name: str) -> Volume:
        """That folder's file system. Raises CannotStrike where it has none of its own."""
        if name not in self.volumes:
            raise CannotStrike(self.why_no_volumes)
        return self.volumes[name]

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """A connection to the broker."""
        with redis.Redis.from_url(self.stack.broker_url, socket_timeout=10) as client:
            yield client

    def is_whole(self) -> bool:
        """Whether everything runs, and the load has been caught up with."""
        ready = all(program.is_ready() for program in self.stack.programs)
        return ready and len(self.ledger.at_broker()) <= CAUGHT_UP

    def settle(self) -> bool:
        """Wait for that. Returns whether it came true, by the last look where the run is given up first."""
        end = time.monotonic() + PATIENCE
        while not (whole := self.is_whole()) and time.monotonic() < end:
            if self.giving_up.wait(0.5):
                break
        return whole
