"""The demo's last act: a conversation outgrows its limit, is archived, goes on, comes back, and is erased."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pipeline.archive import restoring
from pipeline.archive.names import encode
from pipeline.archive.storage import Storage, open_storage
from pipeline.cli import erasing
from pipeline.cli.demo.limits import LIMIT
from pipeline.cli.demo.provider import Provider
from pipeline.cli.demo.screen import Screen
from pipeline.cli.demo.story import AGENT, PATIENCE, USER
from pipeline.client import Client
from pipeline.errors import PipelineError
from pipeline.local.process import POLL
from pipeline.local.stack import LocalStack
from pipeline.store import archives
from pipeline.store.archives import Standing
from pipeline.store.database import Database

CONVERSATION = "diary"
QUESTIONS = (
    "I read Knuth's volume one today.",
    "In the evening I went for a walk.",
    "On Tuesday it rained all day.",
    "On Wednesday I proved a lemma.",
    "On Thursday the lemma was wrong.",
)
LAST_QUESTION = "What did I do on Monday?"

#: Words per second of an answer that nobody reads along.
PACE = 300.0


@dataclass(frozen=True)
class Archiving:
    """Told once. Raises PipelineError when something does not go as it must."""

    stack: LocalStack
    screen: Screen
    client: Client
    database: Database
    provider: Provider

    def tell(self) -> None:
        self.screen.chapter(f"5. A conversation outgrows its limit, here {LIMIT} messages: the oldest are archived.")
        with self.screen.waiting("Starting a worker for archiving and upkeep …"):
            self.stack.start_upkeep()
        self.provider.play(words_per_second=PACE)
        self._grow()
        self._show_archive()
        self._go_on()
        self._read_back()
        self._restore()
        self._erase()

    def _grow(self) -> None:
        for text in QUESTIONS:
            self.screen.say(USER, text)
            self.client.submit(text, user_id=USER, conversation_id=CONVERSATION).result(PATIENCE)
        self.screen.note(f"Answered, each of them: {2 * len(QUESTIONS)} messages")
        self._wait(lambda: self._standing().archived_through > 0)

    def _show_archive(self) -> None:
        session = self._standing()
        (archive,) = archives.live(self.database, session.session_id)
        size = len(self._storage.get(archive.name))
        what = f"messages {archive.first_number} to {archive.last_number}, {size} bytes"
        self.screen.note(f"Archived by the worker for upkeep: {what}; {session.hot} messages stay hot", style="green")
        self.screen.command(archive.name)
        self.screen.say("summary", archives.summaries(self.database, [session.session_id])[session.session_id].text)

    def _go_on(self) -> None:
        self.screen.say(USER, LAST_QUESTION)
        handle = self.client.submit(LAST_QUESTION, user_id=USER, conversation_id=CONVERSATION)
        self.screen.say(AGENT, handle.result(PATIENCE).text)
        self.screen.note("The model was told the summary and the messages that are hot")

    def _read_back(self) -> None:
        numbers = [one.number for one in self.client.history(USER, CONVERSATION, include_archived=True)]
        expected = 2 * len(QUESTIONS) + 2
        if numbers != list(range(1, expected + 1)):
            raise PipelineError(f"the conversation was read back as messages {numbers}, not 1 to {expected}")
        self.screen.note(f"Read back whole: messages 1 to {expected}, archived and hot", style="green")

    def _restore(self) -> None:
        done = restoring.restore(self.database, self._storage, USER, CONVERSATION, grace=3600)
        self.screen.note(f"Restored: {done.messages} messages are hot again, from message {done.hot_from} on")

    def _erase(self) -> None:
        receipt = self.client.erase(USER, CONVERSATION)
        self.screen.alarm("Erased, as its user asked for. The receipt, which stays:")
        for line in erasing.lines(receipt):
            self.screen.command(line)
        begins = f"{encode(USER)}_{encode(CONVERSATION)}_"
        objects = [name for name in self._storage.names() if name.startswith(begins)]
        left = [*objects, *self.client.history(USER, CONVERSATION, include_archived=True)]
        if not receipt.complete or left:
            raise PipelineError(f"the conversation was erased, but {len(left)} traces of it are left")
        self.screen.note("No message and no object of it is left", style="green")

    def _standing(self) -> Standing:
        return archives.standing(self.database, USER, CONVERSATION)

    @cached_property
    def _storage(self) -> Storage:
        return open_storage(self.stack.cold_storage_url)

    def _wait(self, held: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not held():
            if time.monotonic() > until:
                raise PipelineError(f"the conversation was not archived within {PATIENCE:g} s")
            time.sleep(POLL)
