"""What a thread does: one verb after the other, at random, as clients, workers and upkeep do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4

from pipeline.archive.archiver import Report
from pipeline.archive.restoring import restore
from pipeline.client.cancelling import cancel
from pipeline.errors import ArchiveBusy, RequestNotFound, SessionNotFound
from pipeline.schemas import Message, Priority, Status
from pipeline.store import archives, invariants, ledger, retention
from pipeline.store.erasures import Scope
from pipeline.store.ledger import Claim, Ending, NewRequest, RepeatableEnd
from pipeline.store.ledger.outcomes import standing
from pipeline.store.ledger.replay import Replay, replay
from pipeline.store.measures import users as labels
from stress.races.world import SHORT, Kept, World

#: Conversations of a user, and repeated idempotency keys of theirs.
CONVERSATIONS, KEYS = 3, 6

#: Requests that one transaction is about, at most.
HANDFUL = 4

#: Attempts that run; with more, nobody asks for more.
ENOUGH = 60

#: Users with more published or running than they may have.
CROWDED = """
SELECT user_id, count(*) FROM requests WHERE head AND published_at IS NOT NULL GROUP BY user_id HAVING count(*) > %s
"""

#: Names that are kept of those who were erased.
NAMELESS = "SELECT user_id FROM metric_users AS m WHERE NOT EXISTS (SELECT FROM users AS u WHERE u.user_id = m.user_id)"


@dataclass(frozen=True)
class Racer:
    """One thread's verbs."""

    world: World
    dice: random.Random
    worker: UUID

    def verbs(self) -> dict[str, tuple[int, Callable[[], object]]]:
        """Each with its weight."""
        return {
            "accept": (30, self.accept),
            "claim": (30, self.claim),
            "end": (30, self.end),
            "end again": (4, self.end_again),
            "cancel": (6, self.cancel),
            "die": (2, self.die),
            "recover": (6, self.world.recovery.run),
            "replay": (3, self.replay),
            "archive": (5, self.archive),
            "restore": (2, self.restore),
            "erase": (4, self.erase),
            "resume erasures": (1, self.world.eraser.resume),
            "forget": (2, self.forget),
            "label": (2, self.label),
            "look": (3, self.look),
        }

    def accept(self) -> None:
        """A few at once, or nothing where enough is waiting."""
        world = self.world
        if len(world.running) > ENOUGH:
            return
        asked_at = time.monotonic()
        asked = [self._new() for _ in range(self.dice.randint(1, HANDFUL))]
        results, published = world.database.patiently(
            lambda: ledger.accept(world.database, asked, concurrency=world.settings.user_concurrency)
        )
        for new, result in zip(asked, results, strict=True):
            if not result.busy and result.id == new.id:
                world.accepted[new.id] = Kept(Scope(new.user_id, new.conversation_id), asked_at)
        world.courier.carry(published)
        world.courier.interrupt([one.interrupts for one in results if one.interrupts is not None])

    def claim(self) -> None:
        """What the broker delivers, now and then twice."""
        self.world.running.extend(self._claim(self.worker))

    def die(self) -> None:
        """A worker that claims, and is heard of no more. What it held ends too late, if at all."""
        mortal = self.world.worker(lease=SHORT["lease"])
        self.world.stale.extend(self._claim(mortal))

    def _claim(self, worker: UUID) -> list[Claim]:
        world = self.world
        ids = world.deliver(self.dice.randint(1, HANDFUL))
        if self.dice.random() < 0.1:
            ids += ids
        if not ids:
            return []
        window, most_bytes = world.settings.max_messages_in_memory, world.settings.max_context_bytes
        return world.database.patiently(
            lambda: ledger.claim(world.database, worker, ids, window=window, most_bytes=most_bytes)
        )

    def end(self) -> None:
        """What runs ends, one way or another; each of a session of its own, as only one of it runs."""
        taken: dict[int, Claim] = {}
        for _ in range(self.dice.randint(1, HANDFUL)):
            try:
                one = self.world.running.popleft()
            except IndexError:
                break
            if one.session_id in taken:  # one of them has lost its claim
                self.world.running.append(one)
            else:
                taken[one.session_id] = one
        self.world.stale.extend(taken.values())
        self._end([self._ending(one) for one in taken.values()])

    def end_again(self) -> None:
        """An attempt comes to its end that has lost its claim, or has ended before."""
        if stale := list(self.world.stale):
            self._end([self._ending(self.dice.choice(stale))])

    def cancel(self) -> None:
        """Whatever it is doing."""
        id_ = self._any_request()
        if id_ is None:
            return
        try:
            now = self.world.database.patiently(lambda: standing(self.world.database, id_))
        except RequestNotFound:
            return  # erased, or forgotten
        cancel(self.world.database, self.world.courier, now, concurrency=self.world.settings.user_concurrency)

    def replay(self) -> None:
        """What has failed is asked again, where it has."""
        id_, world, asked_at = self._any_request(), self.world, time.monotonic()
        if id_ is None:
            return
        asked = [Replay(id_, uuid4(), "races", b"k" * 32)]
        results, published = world.database.patiently(
            lambda: replay(world.database, asked, concurrency=world.settings.user_concurrency)
        )
        for result in results:
            if isinstance(result, ledger.Accepted):
                world.accepted[result.id] = Kept(world.accepted[id_].scope, asked_at)
        world.courier.carry(published)

    def archive(self) -> Report:
        """The sessions that are due."""
        world = self.world
        due = world.database.patiently(lambda: archives.due(world.database, world.archiver.rules, most=HANDFUL))
        return world.archiver.archive(due, whole=self.dice.random() < 0.2)

    def restore(self) -> None:
        """A conversation is hot again, if it is there and nobody archives it."""
        world = self.world
        with suppress(SessionNotFound, ArchiveBusy):
            restore(world.database, world.archiver.storage, self._user(), self._conversation(), grace=0.5)

    def erase(self) -> None:
        """A conversation, or all of a user's."""
        user = self._user()
        scope = Scope(user, self._conversation() if self.dice.random() < 0.7 else None)
        self.world.eraser.erase(scope)
        self.world.erasures.append((scope, time.monotonic()))

    def forget(self) -> None:
        """What has ended a moment ago has been kept long enough."""
        world = self.world
        world.database.patiently(lambda: retention.forget_requests(world.database, age=self.dice.uniform(0.1, 2)))

    def label(self) -> None:
        """Somebody is to be called by name in metrics."""
        labels.claim(self.world.database, [self._user()], most=100)

    def look(self) -> None:
        """What must hold at every moment holds now. Raises AssertionError."""
        database, most = self.world.database, self.world.settings.user_concurrency
        broken = [str(one) for one in invariants.check(database, max_delay=SHORT["retry_max_delay"])]
        with database.connection() as connection:
            broken += [f"{user} has {count} under way" for user, count in connection.execute(CROWDED, [most])]
            broken += [f"{user} is gone and has a label" for (user,) in connection.execute(NAMELESS)]
        assert not broken, "; ".join(broken)

    def _end(self, endings: list[Ending]) -> None:
        world = self.world
        if not endings:
            return
        commit = RepeatableEnd(
            world.database,
            endings,
            concurrency=world.settings.user_concurrency,
            most_hot=world.settings.max_messages_in_memory,
        )
        ended = world.database.patiently(commit)
        world.courier.tell(ended.outcomes)
        world.courier.carry(ended.publications)

    def _ending(self, claim: Claim) -> Ending:
        status = self.dice.choices([Status.succeeded, Status.failed, Status.retrying, Status.queued], [7, 1, 2, 1])[0]
        said = (Message("user", claim.text), Message("assistant", "answer")) if status is Status.succeeded else ()
        if status is Status.retrying and claim.attempt == claim.max_attempts:
            status = Status.failed
        waits = status in (Status.retrying, Status.queued)
        return Ending(
            claim.id,
            status,
            claim.fence,
            claim.user_id,
            claim.session_id,
            claim.position,
            reason={Status.failed: "http_4xx", Status.retrying: "http_503", Status.queued: "breaker_open"}.get(status),
            delay=self.dice.uniform(0, SHORT["retry_max_delay"]) if waits else None,
            messages=said,
            attempt=claim.attempt,
        )

    def _new(self) -> NewRequest:
        key = f"key {self.dice.randrange(KEYS)}" if self.dice.random() < 0.2 else None
        return NewRequest(
            id=uuid4(),
            user_id=self._user(),
            conversation_id=self._conversation(),
            agent="chat",
            priority=self.dice.choice(list(Priority)),
            text="question",
            metadata={},
            idempotency_key=key,
            content_hash=None if key is None else b"h" * 32,
            origin="races",
            stream_key=b"k" * 32,
            max_attempts=3,
            timeout=60.0,
            deadline=self.dice.choice([1.0, 600.0, 600.0, 600.0]),
            on_busy=self.dice.choice(["queue", "queue", "queue", "reject", "interrupt"]),
        )

    def _user(self) -> str:
        return f"user {self.dice.randrange(self.world.users)}"

    def _conversation(self) -> str:
        return f"conversation {self.dice.randrange(CONVERSATIONS)}"

    def _any_request(self) -> UUID | None:
        """One of the last that were accepted."""
        known = list(self.world.accepted)[-100:]
        return self.dice.choice(known) if known else None
