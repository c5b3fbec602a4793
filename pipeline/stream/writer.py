"""Sends what agents write: one thread a process, and one round trip for all that waits at the same moment."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Self

import redis
import structlog

from pipeline import broker, signals
from pipeline.stream.backlog import TOTAL_LIMIT, Backlog, Run
from pipeline.stream.cipher import Cipher
from pipeline.stream.wire import Appender, Entry, stream_name

log = structlog.get_logger(__name__)

#: Seconds between two rounds: what a feed is given meanwhile is joined.
JOIN = 0.04

#: Seconds between two rounds when some feed has its first text, or its last: many short answers share a round, too.
JOIN_URGENT = 0.003

#: Seconds without rounds after one that failed.
PAUSE = 0.25

#: How often an attempt's text may begin anew: between two attempts' fencing numbers, as readers see them, is so much
#: room.
RESTARTS = 1000

#: Most feeds in one round, so that the broker is not kept from others.
MOST_FEEDS = 256


class Feed:
    """Takes one attempt's text. Never blocks on the broker, never raises. As a context manager it closes itself."""

    __slots__ = ("_writer", "backlog", "cipher", "closed", "fence", "stream")

    def __init__(self, writer: StreamWriter, request_id: str, key: bytes, fence: int) -> None:
        self.stream = stream_name(request_id)
        #: Of the text as it is written now: of this attempt, since it last began anew.
        self.fence = fence * RESTARTS
        self.cipher = Cipher(request_id, key)
        self.backlog = Backlog()
        self.closed = False
        self._writer = writer

    def write(self, text: str) -> None:
        """Show a piece of the answer to whoever follows."""
        self._writer.write(self, text)

    def restart(self, text: str) -> None:
        """What was written is void, and the attempt's text begins anew, with this one."""
        self._writer.restart(self, text)

    def close(self) -> None:
        """The attempt is over: after the commit of its outcome, readers are woken so that they look for it."""
        self._writer.close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Sending:
    """What a round takes of one feed, under the fence it had then. `last`: nothing follows, and readers are to be
    woken."""

    feed: Feed
    fence: int
    run: Run
    last: bool

    def entries(self) -> list[Entry]:
        """The run, sealed, and what wakes readers."""
        feed, fence, run, made = self.feed, self.fence, self.run, []
        if run.text:
            sealed = feed.cipher.seal(fence, run.offset, run.text)
            made.append(Entry(feed.stream, fence, run.offset, sealed))
        if self.last:
            made.append(Entry(feed.stream, fence, run.offset + len(run.text)))
        return made


class StreamWriter:
    """Owns the thread that writes streams. Each stream lives `keep` seconds after its last entry.

    While the broker is away text waits in memory, within limits; beyond them it is dropped and counted, and readers
    find it in the answer. The text of an attempt that has ended does not wait: there is an answer by then.
    """

    def __init__(self, client: redis.Redis, *, keep: int) -> None:
        self._appender = Appender(client, keep)
        self._changed = threading.Condition()
        self._waiting: dict[Feed, None] = {}  # used as sets that keep their order
        self._urgent: dict[Feed, None] = {}
        self._held = 0
        self._last_round = self._last_full_round = self._away_until = float("-inf")
        self._away = self._full = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="stream-writer", daemon=True)
        #: Characters that were not sent, and rounds that failed.
        self.dropped = self.faults = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, drain: float = 1.0) -> None:
        """Send what waits, for `drain` seconds at most, then drop the rest."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(drain)

    def open(self, request_id: str, key: bytes, fence: int) -> Feed:
        """A feed for one attempt; `fence` grows with each attempt at the request, `key` is the request's."""
        return Feed(self, request_id, key, fence)

    def write(self, feed: Feed, text: str) -> None:
        """As Feed.write."""
        if not text:
            return
        with self._changed:
            if feed.closed:
                return
            first = feed.backlog.written == 0
            if not feed.backlog.add(text, TOTAL_LIMIT - self._held):
                self._drop(len(text))
                return
            self._held += len(text)
            self._enqueue(feed, urgent=first)

    def restart(self, feed: Feed, text: str) -> None:
        """As Feed.restart."""
        with self._changed:
            if feed.closed:
                return
            self._held -= feed.backlog.size
            feed.backlog = Backlog()
            feed.fence += 1
        self.write(feed, text)

    def close(self, feed: Feed) -> None:
        """As Feed.close."""
        with self._changed:
            if not feed.closed and feed.backlog.written:  # without text, nobody waits for more than the outcome
                self._enqueue(feed, urgent=True)
            feed.closed = True

    def _enqueue(self, feed: Feed, *, urgent: bool) -> None:
        # The thread has a time-out when something waits already, and it wakes soon when that is urgent.
        notify = not self._urgent and (urgent or not self._waiting)
        (self._urgent if urgent else self._waiting)[feed] = None
        if notify:
            self._changed.notify()

    def _drop(self, characters: int) -> None:
        self.dropped += characters
        if characters and not self._full:
            self._full = True
            log.warning("stream_text_dropped", broker_away=self._away)

    def _run(self) -> None:
        while sendings := self._next_round():
            try:
                self._send(sendings)
            except Exception:  # the thread's top: what one feed holds must not end the streams of all others
                signals.broker_failed("stream")
                log.exception("stream_round_failed")
                with self._changed:
                    self._forget(sendings)

    def _next_round(self) -> list[Sending]:
        """Wait until there is something to send, and take it. Empty: stop."""
        with self._changed:
            while (due := self._due()) is None or due > time.monotonic():
                if due is None and self._stopping:
                    return []
                self._changed.wait(None if due is None else due - time.monotonic())
            return [Sending(feed, feed.fence, feed.backlog.take(), feed.closed) for feed in self._take_feeds()]

    def _due(self) -> float | None:
        """When the next round is to be; None when there is nothing to send."""
        due = []
        if self._urgent:
            due.append(self._last_round + JOIN_URGENT)
        if self._waiting:
            due.append(self._last_round if self._stopping else self._last_full_round + JOIN)
        return max(min(due), self._away_until) if due else None

    def _take_feeds(self) -> list[Feed]:
        now = self._last_round = time.monotonic()
        feeds = self._urgent
        if self._stopping or now >= self._last_full_round + JOIN:
            self._last_full_round = now
            feeds = feeds | self._waiting
        taken = list(feeds)[:MOST_FEEDS]
        for feed in taken:
            self._urgent.pop(feed, None)
            self._waiting.pop(feed, None)
        return taken

    def _send(self, sendings: list[Sending]) -> None:
        entries = [entry for sending in sendings for entry in sending.entries()]
        try:
            refused = self._appender.append(entries)
        except broker.FAULTS as fault:
            self._failed(sendings, fault)
            return
        with self._changed:
            self._held -= sum(len(sending.run.text) for sending in sendings)
            if self._away:
                self._away = self._full = False
                log.info("stream_broker_back", dropped_characters=self.dropped)
        if refused:
            signals.broker_failed("stream", refused)
            log.warning("stream_entries_refused", entries=refused)

    def _failed(self, sendings: list[Sending], fault: Exception) -> None:
        signals.broker_failed("stream")
        with self._changed:
            self.faults += 1
            if not self._away:
                self._away = True
                log.warning("stream_broker_away", error=type(fault).__name__)
            self._away_until = time.monotonic() + PAUSE
            self._forget([sending for sending in sendings if not self._keep(sending)])

    def _keep(self, sending: Sending) -> bool:
        """Whether the text waits again, for the broker to come back."""
        feed = sending.feed
        void = feed.closed or self._stopping or feed.fence != sending.fence
        if void or not feed.backlog.give_back(sending.run):
            return False
        self._waiting[feed] = None
        return True

    def _forget(self, sendings: list[Sending]) -> None:
        characters = sum(len(sending.run.text) for sending in sendings)
        self._held -= characters
        self._drop(characters)
