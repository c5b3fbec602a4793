"""What the doctor looks at."""

from __future__ import annotations

from functools import cached_property

import redis

from pipeline import broker, stackfile
from pipeline.settings import Settings
from pipeline.stackfile import Stack
from pipeline.store.database import Database


class Site:
    """An installation as its settings name it. Connections are made when a check asks for them."""

    def __init__(self, settings: Settings, *, flower: str | None = None) -> None:
        self.settings = settings
        self._flower = flower

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.database, size=1)

    @cached_property
    def broker(self) -> redis.Redis:
        return broker.connect(self.settings.broker, self.settings.broker_timeout, connections=2)

    @cached_property
    def stack(self) -> Stack | None:
        """The local stack that runs, if one does."""
        return stackfile.read()

    @property
    def flower_url(self) -> str | None:
        """Where Flower is, as far as anybody has said."""
        return self._flower or (self.stack.flower_url if self.stack else None)

    def close(self) -> None:
        if "database" in self.__dict__:
            self.database.close()
        if "broker" in self.__dict__:
            self.broker.close()
