"""The demo's turns: one that goes well, one whose providers fail, one whose worker is killed; then a provider dies."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self
from uuid import UUID

from pipeline.cli.demo.breaker import lose_a_provider
from pipeline.cli.demo.provider import Provider
from pipeline.cli.demo.screen import Screen
from pipeline.cli.demo.watch import short, watching, who
from pipeline.client import Client, Handle
from pipeline.errors import ConfigurationError, PipelineError
from pipeline.local.stack import LocalStack
from pipeline.settings import current
from pipeline.store import queries
from pipeline.store.database import Database

USER, AGENT, CONVERSATION = "ada", "agent", "thesis"
QUESTIONS = ("What did I cite in chapter one?", "And who wrote that?", "Thank you. Sum it up for me.")

#: Words per second of an answer; the last one is slow enough to be caught in the middle.
PACE, SLOW_PACE = 12.0, 6.0

#: Characters of an answer after which its worker is killed.
MIDDLE = 45

#: Seconds that the demo waits for an answer before it gives up.
PATIENCE = 60.0


class Story:
    """Told once, within `with`."""

    def __init__(self, stack: LocalStack, screen: Screen, standby: str) -> None:
        if stack.simulator_url is None:
            raise ConfigurationError("the demo needs its simulated provider")
        self._stack = stack
        self._screen = screen
        self.provider = Provider(stack.simulator_url)
        self._standby = Provider(standby)
        self.client = Client()
        self.database = Database(current().database)
        #: The requests so far, in their order.
        self.requests: list[UUID] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.database.close()

    def tell(self) -> None:
        """All of it. Raises PipelineError when one of them does not go as it must."""
        self._screen.chapter("1. A turn. submit() returns once the request is in Postgres; the text streams.")
        self.provider.play(words_per_second=PACE)
        self._follow(self._ask(QUESTIONS[0]))
        self._screen.chapter("2. Both providers fail twice with 503. Celery's retry carries the request on.")
        for provider in (self.provider, self._standby):
            provider.play("503", "503", words_per_second=PACE)
        self._follow(self._ask(QUESTIONS[1]))
        self._screen.chapter("3. A worker is killed in the middle of an answer. Another one starts over.")
        self.provider.play(words_per_second=SLOW_PACE)
        self._screen.begin_reports()
        self._lose_worker(self._ask(QUESTIONS[2]))
        lose_a_provider(self._screen, self.client, self.database, self.provider, self._standby)
        self.provider.play(words_per_second=PACE)

    def _ask(self, text: str) -> Handle:
        began = time.monotonic()
        handle = self.client.submit(text, user_id=USER, conversation_id=CONVERSATION)
        took = time.monotonic() - began
        self.requests.append(UUID(handle.id))
        self._screen.say(USER, text)
        self._screen.note(f"Accepted in {took * 1000:.0f} ms")
        return handle

    def _follow(self, handle: Handle) -> None:
        with watching(self.database, self.requests[-1], self._screen):
            for text in handle.stream(PATIENCE):
                self._screen.stream(AGENT, text)
        self._conclude()

    def _lose_worker(self, handle: Handle) -> None:
        """The same, with a murder: as soon as half of the answer is on the screen."""
        seen, killed, restarts = 0, 0, 0
        with watching(self.database, self.requests[-1], self._screen):
            for text in handle.stream(PATIENCE):
                if text.restarted:
                    restarts += 1
                    self._screen.void("The stream marks the text above as void: restarted")
                self._screen.stream(AGENT, text)
                seen += len(text)
                if not killed and seen >= MIDDLE:
                    killed = self._kill()
        survivor = queries.request(self.database, self.requests[-1]).worker_pid
        if not killed or restarts != 1 or survivor == killed:
            raise PipelineError("the answer was whole before its worker could be killed; please run the demo again")
        self._conclude()

    def _kill(self) -> int:
        """SIGKILL the worker that the ledger says is answering. Returns its process id."""
        facts = queries.request(self.database, self.requests[-1])
        index = next((n for n, one in enumerate(self._stack.workers) if one.pid == facts.worker_pid), None)
        if index is None:
            raise PipelineError(f"the ledger names {who(facts)}, which is no worker of this stack")
        self._screen.alarm(f"kill -9: {who(facts)}, which is writing this")
        self._stack.kill_worker(index)
        self._screen.wait(
            f"Nobody renews its lease of {current().lease:g} s any more; when that has run out, recovery steps in"
        )
        return facts.worker_pid or 0

    def _conclude(self) -> None:
        facts = queries.request(self.database, self.requests[-1])
        tries = "the first attempt" if facts.attempts == 1 else f"attempt {facts.attempts} of {facts.max_attempts}"
        self._screen.note(f"Answered by {short(facts.worker)}, on {tries}", style="green")
