"""The handle of a request: where it stands, its text as it comes, its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.errors import RequestCancelled, RequestExpired, RequestFailed, WaitTimeout
from pipeline.schemas import Answer, Status, Timings, Usage
from pipeline.store.ledger import Outcome
from pipeline.stream import Reader, Text

if TYPE_CHECKING:
    from pipeline.client.client import Client

#: Seconds that a reader of a stream waits in the broker before it looks around.
BLOCK = 1.0

#: Seconds between a stream's last entry and the outcome's notice, at most, as a rule.
SOON = 0.05


class Handle:
    """One accepted request. Get it again in another process with `client.get(handle.id)`."""

    def __init__(self, client: Client, request_id: UUID, *, origin: str, stream_key: bytes, since: int | None) -> None:
        self._client = client
        self._uuid = request_id
        self._origin = origin
        self._key = stream_key
        self._since = since
        self.id = str(request_id)

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    def status(self) -> Status:
        """Where the request stands now."""
        return self._client.standing(self._uuid).status

    def result(self, timeout: float | None = None) -> Answer:
        """The answer, as soon as there is one.

        Raises WaitTimeout after `timeout` seconds, and RequestFailed, RequestExpired or RequestCancelled when the
        request ended without an answer; ClientClosed when the client was closed, or is meanwhile. One that was
        archived since is read from cold storage, which may raise StorageFailed or ArchiveDamaged; AnswerGone when its
        archive has expired.
        """
        future = self._future()
        try:
            outcome = future.result(timeout)
        except FutureTimeoutError:
            raise WaitTimeout(self.id, timeout or 0) from None
        finally:
            self._client.forget(self._uuid, self._origin, future)
        return answer_of(self._whole(outcome))

    async def aresult(self, timeout: float | None = None) -> Answer:
        """`result` for asyncio."""
        future = self._future()
        try:
            outcome = await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except TimeoutError:
            raise WaitTimeout(self.id, timeout or 0) from None
        finally:
            self._client.forget(self._uuid, self._origin, future)
        return answer_of(await self._client.in_thread(self._whole, outcome) if _lacks_text(outcome) else outcome)

    def stream(self, timeout: float | None = None) -> Iterator[Text]:
        """The answer's text as it comes: a str each, whose `restarted` says that what came before it is void.

        The texts since the last restarted one, joined, are the answer. Raises as `result` does; after WaitTimeout
        a further `stream` begins anew.
        """
        future, reader, until = self._future(), Reader(self.id, self._key), _end(timeout)
        try:
            wait([future], SOON if self._since is None else 0)  # one that has ended has little to follow
            while not future.done():
                texts = self._read(reader, future, min(BLOCK, self._left(until, timeout)))
                yield from texts
                if not texts:
                    wait([future], SOON)
            yield from reader.finish(answer_of(self._whole(future.result())).text)
        finally:
            self._client.forget(self._uuid, self._origin, future)

    async def astream(self, timeout: float | None = None) -> AsyncIterator[Text]:
        """`stream` for asyncio."""
        future, reader, until = self._future(), Reader(self.id, self._key), _end(timeout)
        # one, and looked at: of any other, asyncio would log that nobody has retrieved what it was raised
        ended = asyncio.wrap_future(future)
        redis = self._client.async_redis()
        try:
            while not future.done():
                texts = await reader.aread(redis, min(BLOCK, self._left(until, timeout)))
                for text in texts:
                    yield text
                if not texts:
                    await asyncio.wait([ended], timeout=SOON)
            outcome = await ended
            whole = await self._client.in_thread(self._whole, outcome) if _lacks_text(outcome) else outcome
            for text in reader.finish(answer_of(whole).text):
                yield text
        finally:
            self._client.forget(self._uuid, self._origin, future)
            await redis.aclose()

    def cancel(self) -> bool:
        """End the request without an answer. Returns whether it had no outcome yet; it is then `cancelled` for good,
        and a worker that runs it stops within a second (three without the broker)."""
        return self._client.cancel(self._uuid)

    async def acancel(self) -> bool:
        """`cancel` for asyncio."""
        return await self._client.in_thread(self.cancel)

    async def astatus(self) -> Status:
        """`status` for asyncio."""
        return await self._client.in_thread(self.status)

    def _future(self) -> Future[Outcome]:
        return self._client.outcome(self._uuid, self._origin, self._since)

    def _read(self, reader: Reader, future: Future[Outcome], block: float) -> list[Text]:
        try:
            return reader.read(self._client.redis, block)
        except Exception:
            if not future.done():
                raise
            return []  # the client was closed, and the connection under its reader with it: `future` says so

    def _whole(self, outcome: Outcome) -> Outcome:
        """The outcome with its text, wherever that is."""
        return replace(outcome, text=self._client.archived_answer(self._uuid)) if _lacks_text(outcome) else outcome

    def _left(self, until: float, timeout: float | None) -> float:
        left = until - time.monotonic()
        if left <= 0:
            raise WaitTimeout(self.id, timeout or 0)
        return left


def answer_of(outcome: Outcome) -> Answer:
    """The answer; or raises what the request ended with instead."""
    request_id = str(outcome.id)
    match outcome.status:
        case Status.succeeded:
            return Answer(
                text=outcome.text or "",
                provider=outcome.provider,
                model=outcome.model,
                usage=Usage(outcome.input_tokens, outcome.output_tokens),
                attempts=outcome.attempts,
                timings=Timings(outcome.queued, outcome.running, outcome.total),
            )
        case Status.expired:
            raise RequestExpired(request_id)
        case Status.cancelled:
            raise RequestCancelled(request_id)
        case _:
            raise RequestFailed(request_id, outcome.reason or "unknown", outcome.attempts)


def _lacks_text(outcome: Outcome) -> bool:
    """Whether its messages have been archived since."""
    return outcome.status is Status.succeeded and outcome.text is None


def _end(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout
