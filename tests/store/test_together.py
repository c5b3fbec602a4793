"""Everything at once: whoever accepts, claims, ends and recovers at the same moment, no session is left stranded."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Barrier
from uuid import UUID

import pytest

from pipeline.schemas import Priority, Status
from pipeline.store.database import Database
from pipeline.store.ledger import Claim, Ending, NewRequest, recover
from pipeline.store.ledger.outcomes import standing
from tests.store.desk import Desk, Sql, answered, ending, new, violations

#: Seconds that a busy machine may take to lend a connection.
WAIT = 60.0


@pytest.fixture
def crowded(ledger_url: str) -> Iterator[Database]:
    """Connections for many threads."""
    database = Database(ledger_url, size=12, wait=WAIT)
    yield database
    database.close()


def test_fifty_at_once_to_one_session_get_one_place_each(crowded: Database, sql: Sql) -> None:
    desk, barrier = Desk(crowded), Barrier(50)

    def submit(_: int) -> UUID:
        one = new()
        barrier.wait(WAIT)
        return one.id if desk.accept(one) else UUID(int=0)

    with ThreadPoolExecutor(50) as threads:
        heads = [id_ for id_ in threads.map(submit, range(50)) if id_.int]
    assert len(heads) == 1
    positions = sql.execute("SELECT position FROM requests ORDER BY 1").fetchall()
    assert [place for (place,) in positions] == list(range(1, 51))
    assert violations(sql) == []


def test_fifty_sessions_of_a_user_at_once_use_up_its_places_and_no_more(crowded: Database, sql: Sql) -> None:
    desk, barrier = Desk(crowded), Barrier(50)

    def submit(index: int) -> int:
        barrier.wait(WAIT)
        return len(desk.accept(new(conversation=f"c{index}")))

    with ThreadPoolExecutor(50) as threads:
        assert sum(threads.map(submit, range(50))) == 3
    assert violations(sql) == []


def test_a_key_used_by_many_at_once_makes_one_request(crowded: Database) -> None:
    desk, barrier = Desk(crowded), Barrier(16)

    def submit(_: int) -> UUID:
        barrier.wait(WAIT)
        return desk.accepted(new(idempotency_key="k", content_hash=b"this"))[0][0].id

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(submit, range(16)))) == 1


def test_an_end_at_the_moment_of_an_acceptance_strands_nobody(crowded: Database, sql: Sql) -> None:
    """The end sees nobody behind it, the acceptance sees a head before it: one of them has to be wrong."""
    desk = Desk(crowded)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(15):
            claims = [desk.running(user=f"u{lane}", conversation="c") for lane in range(2)]
            ends = threads.map(lambda one: desk.end(answered(one)), claims)
            accepts = threads.map(lambda lane: desk.accept(new(f"u{lane}", "c")), range(2))
            published = [one.id for ended in ends for one in ended.publications]
            published += [one.id for publications in accepts for one in publications]
            assert len(published) == 2
            assert violations(sql) == []
            desk.end(*(answered(one) for one in desk.claim(*published)))


class Crowd:
    """Threads that do what clients, workers and recovery do, at random; what is published goes through a queue."""

    def __init__(self, database: Database, seed: int) -> None:
        self.desk = Desk(database)
        self.seed = seed
        self.broker: SimpleQueue[UUID] = SimpleQueue()
        self.done: Counter[str] = Counter()

    def run(self, threads: int, steps: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for finished in [
                pool.submit(self._person, random.Random(f"{self.seed}-{n}"), steps) for n in range(threads)
            ]:
                finished.result(WAIT)

    def _person(self, dice: random.Random, steps: int) -> None:
        mine: list[UUID] = []
        held: list[Claim] = []
        acts = {"submit": 4, "work": 5, "finish": 5, "cancel": 1, "recover": 1}
        for _ in range(steps):
            (act,) = dice.choices([*acts], [*acts.values()])
            match act:
                case "submit":
                    batch = [self._request(dice) for _ in range(dice.randint(1, 3))]
                    mine += [one.id for one in batch]
                    self._publish(one.id for one in self.desk.accept(*batch))
                case "work":
                    held += self.desk.claim(*self._taken(dice.randint(1, 3)))
                case "finish" if held:
                    dice.shuffle(held)
                    wishes = [self._ending(dice, held.pop()) for _ in range(min(len(held), dice.randint(1, 3)))]
                    self._publish(one.id for one in self.desk.end(*wishes).publications)
                case "cancel" if mine:
                    now = standing(self.desk.database, mine.pop(dice.randrange(len(mine))))
                    cancelled = Ending(now.id, Status.cancelled, None, now.user_id, now.session_id, now.position)
                    self._publish(one.id for one in self.desk.end(cancelled).publications)
                case "recover":
                    self._recover()
            self.done[act] += 1

    def _request(self, dice: random.Random) -> NewRequest:
        user = f"u{self.seed}-{dice.randint(1, 2)}"
        return new(user, f"c{dice.randint(1, 4)}", priority=dice.choice(list(Priority)), max_attempts=100)

    def _ending(self, dice: random.Random, claimed: Claim) -> Ending:
        match dice.randint(1, 6):
            case 1:
                return ending(claimed, Status.failed)
            case 2:
                return ending(claimed, Status.retrying, delay=dice.choice([0, 3600]))
            case 3:
                return ending(claimed, Status.queued)
            case _:
                return answered(claimed)

    def _recover(self) -> None:
        database = self.desk.database
        found = recover.due(database, concurrency=self.desk.concurrency)
        found += recover.aged(database, ageing=0)
        found += recover.lost(database, grace=0, empty_queues=[Priority.urgent])
        self._publish(one.id for one in found)

    def _taken(self, most: int) -> list[UUID]:
        taken: list[UUID] = []
        with suppress(Empty):
            taken.extend(self.broker.get_nowait() for _ in range(most))
        return taken

    def _publish(self, ids: Iterator[UUID]) -> None:
        for id_ in ids:
            self.broker.put(id_)


@pytest.mark.parametrize("seed", range(6))
def test_after_a_crowd_has_done_what_it_wants_every_invariant_holds(crowded: Database, sql: Sql, seed: int) -> None:
    crowd = Crowd(crowded, seed)
    for _ in range(5):
        crowd.run(threads=8, steps=8)
        assert violations(sql) == []
    assert len(crowd.done) == 5, f"not all was tried: {crowd.done}"
