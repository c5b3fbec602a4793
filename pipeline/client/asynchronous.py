"""The client's verbs for asyncio: each waits for Postgres in a thread, beside the event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from pipeline.client.handle import Handle
from pipeline.errors import ClientClosed, PipelineError
from pipeline.once import once

P = ParamSpec("P")
R = TypeVar("R")

#: Threads that serve these verbs.
THREADS = 16


class Asynchronous(ABC):
    """What a client can do for an event loop. Each verb is as its namesake."""

    submit: Callable[..., Handle]

    @abstractmethod
    def submit_many(self, requests: Sequence[Mapping[str, Any]]) -> list[Handle | PipelineError]: ...

    @abstractmethod
    def get(self, request_id: str) -> Handle: ...

    @abstractmethod
    def retry(self, request_id: str) -> Handle: ...

    async def asubmit(self, text: str, **options: Any) -> Handle:
        """`submit` for asyncio."""
        return await self.in_thread(self.submit, text, **options)

    async def asubmit_many(self, requests: Sequence[Mapping[str, Any]]) -> list[Handle | PipelineError]:
        """`submit_many` for asyncio."""
        return await self.in_thread(self.submit_many, requests)

    async def aget(self, request_id: str) -> Handle:
        """`get` for asyncio."""
        return await self.in_thread(self.get, request_id)

    async def aretry(self, request_id: str) -> Handle:
        """`retry` for asyncio."""
        return await self.in_thread(self.retry, request_id)

    async def in_thread(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a verb that waits for Postgres beside the event loop. Raises ClientClosed."""
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, lambda: verb(*args, **kwargs))
        except RuntimeError as ended:  # the threads are
            raise ClientClosed from ended
        return await running

    @once
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS, thread_name_prefix="pipeline-async")
