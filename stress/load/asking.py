"""One request, as agent code makes it: submit, and wait for the answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

from pipeline import Client, Handle
from pipeline.errors import (
    LedgerUnavailable,
    PipelineError,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    RequestNotFound,
    WaitTimeout,
)
from stress.load.record import Record

#: Threads that submit: many, so that the client has something to combine.
SUBMITTERS = 200

#: Seconds between two tries to submit while Postgres is away.
AGAIN = 0.2

#: How a caller hears of each outcome that is not an answer, and of a request that is not in the ledger.
ENDS: dict[type[PipelineError], str] = {
    RequestFailed: "failed",
    RequestExpired: "expired",
    RequestCancelled: "cancelled",
    WaitTimeout: "overdue",
    RequestNotFound: "not found",
}

#: How every other error ends the wait: what became of the request was not told.
UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Within a conversation, `number` counts from 1."""

    user: str
    conversation: str
    number: int

    @property
    def text(self) -> str:
        """Told apart from every other, so that what became of it can be followed."""
        return f"{self.user} {self.conversation} {self.number}"


class Submitted(NamedTuple):
    """What came of a submission, or why nothing did, and from when to when it was under way in its thread."""

    began: float
    ended: float
    handle: Handle | PipelineError


class Asker:
    """Asks through one client. `patience` is in seconds, for each answer."""

    def __init__(self, client: Client, agent: str, patience: float, on_busy: str = "queue") -> None:
        self._client = client
        self._agent = agent
        self._patience = patience
        self._on_busy = on_busy
        self._threads = ThreadPoolExecutor(SUBMITTERS, thread_name_prefix="submit")

    async def ask(self, question: Question, due: float) -> Record:
        """Have it answered, or not: either is told."""
        sent, user = time.monotonic(), question.user
        began, done, handle = await asyncio.get_running_loop().run_in_executor(self._threads, self._submit, question)
        waited = began - sent
        if isinstance(handle, PipelineError):
            return Record(due, sent, None, done, "refused", error=_named(handle), user=user, waited=waited)
        outcome, error, attempts = "succeeded", None, 0
        try:
            answer = await handle.aresult(self._patience)
            attempts = answer.attempts
        except PipelineError as fault:  # whatever it is, of one request: the others go on, and the report tells of it
            outcome, error = ENDS.get(type(fault), UNREAD), _named(fault)
            attempts = getattr(fault, "attempts", 0)
        return Record(due, sent, done, time.monotonic(), outcome, handle.id, error, attempts, user, waited)

    def _submit(self, question: Question) -> Submitted:
        """In a thread. That there was none for a while is the sender's delay, and no part of being accepted."""
        began = time.monotonic()
        handle = self._insist(question)
        return Submitted(began, time.monotonic(), handle)

    def _insist(self, question: Question) -> Handle | PipelineError:
        """As careful agent code does: what may not have been accepted is submitted again, under the same key."""
        until = time.monotonic() + self._patience
        while True:
            try:
                return self._client.submit(
                    question.text,
                    user_id=question.user,
                    conversation_id=question.conversation,
                    agent=self._agent,
                    on_busy=self._on_busy,
                    idempotency_key=question.text,
                )
            except LedgerUnavailable as fault:
                if time.monotonic() > until:
                    return fault
                time.sleep(AGAIN)
            except PipelineError as refusal:
                return refusal

    def connect(self) -> None:
        """Have the client's connections ready, which the first requests would wait for otherwise."""
        self._client.submit_many([])
        with contextlib.suppress(RequestNotFound):
            self._client.get(str(uuid4()))

    def close(self) -> None:
        self._threads.shutdown()


def _named(fault: PipelineError) -> str:
    """The error's class, and its reason where it has one. Never its message, which may quote what was said."""
    reason = getattr(fault, "reason", None)
    return f"{type(fault).__name__} {reason}" if reason else type(fault).__name__
