"""Who sends when: the closed model waits for answers, the open one does not."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from typing import cast

import pytest

from stress.load.asking import Asker, Question
from stress.load.order import Order
from stress.load.record import Record
from stress.load.sender import Sender
from stress.plan import Closed, Load, Open, Stage
from tests.servers import eventually


class Echo:
    """Answers after `seconds`, and remembers what it was asked and how much at once."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.asked: dict[str, list[Question]] = defaultdict(list)
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def ask(self, question: Question, due: float) -> Record:
        sent = time.monotonic()
        self.asked[question.user].append(question)
        self.under_way[question.user] += 1
        self.most[question.user] = max(self.most[question.user], self.under_way[question.user])
        await asyncio.sleep(self.seconds)
        self.under_way[question.user] -= 1
        return Record(due, sent, sent, time.monotonic(), "succeeded", question.text)

    @property
    def total(self) -> int:
        return sum(map(len, self.asked.values()))


def sender_of(echo: Echo, load: Load, *, share: int = 0, of: int = 1) -> Sender:
    return Sender(cast(Asker, echo), Order("run", load, "chat", 10, share, of))


def send(echo: Echo, load: Load, *, share: int = 0, of: int = 1) -> list[Record]:
    async def play() -> list[Record]:
        sender = sender_of(echo, load, share=share, of=of)
        await sender.send(time.monotonic())
        return sender.take()

    return asyncio.run(play())


def test_a_user_who_waits_has_one_request_under_way_and_rests_after_each_answer() -> None:
    echo = Echo()
    records = send(echo, Closed(users=5, requests=4, delay=0.03))
    assert set(echo.most.values()) == {1}
    assert {user: len(asked) for user, asked in echo.asked.items()} == {f"run-{number}": 4 for number in range(5)}
    assert len(records) == 20
    mine = sorted(record.sent for record in records if (record.id or "").startswith("run-0 "))
    assert all(after - before >= 0.039 for before, after in itertools.pairwise(mine))


def test_a_user_who_does_not_wait_sends_all_at_once_over_its_conversations() -> None:
    echo = Echo(0.1)
    send(echo, Closed(users=1, requests=8, delay=0, conversations=4, wait=False))
    assert echo.most["run-0"] == 8
    assert Counter(question.conversation for question in echo.asked["run-0"]) == {f"talk {n}": 2 for n in range(4)}


def test_with_a_duration_users_go_on_until_it_is_over() -> None:
    echo = Echo(0.02)
    began = time.monotonic()
    send(echo, Closed(users=2, requests=1, delay=0, duration=0.4))
    assert 0.4 <= time.monotonic() - began < 2
    assert all(len(asked) > 3 for asked in echo.asked.values())


def test_questions_of_a_conversation_are_numbered_and_go_on_in_the_next_batch() -> None:
    echo = Echo()

    async def play() -> None:
        sender = sender_of(echo, Closed(users=1, requests=2, delay=0))
        await sender.send(time.monotonic())
        await sender.send(time.monotonic())

    asyncio.run(play())
    assert [question.number for question in echo.asked["run-0"]] == [1, 2, 3, 4]


def test_open_requests_come_whether_or_not_earlier_ones_are_answered() -> None:
    echo = Echo(1.0)
    records = send(echo, Open((Stage(0.5, 40, 40),), users=4))
    assert len(records) == 20
    assert all(most > 1 for most in echo.most.values())
    due = sorted(record.due for record in records)
    assert due[-1] - due[0] == pytest.approx(19 / 40)


@pytest.mark.parametrize("load", [Closed(users=7, requests=3, delay=0), Open((Stage(0.3, 100, 100),), users=7)])
def test_shares_make_the_whole_and_no_two_ask_the_same(load: Load) -> None:
    whole = load.total
    shares = [Echo() for _ in range(3)]
    for number, echo in enumerate(shares):
        send(echo, load, share=number, of=3)
    assert sum(echo.total for echo in shares) == whole
    assert all(echo.total for echo in shares)
    questions = [question for echo in shares for asked in echo.asked.values() for question in asked]
    assert len(set(questions)) == whole


def test_once_stopped_nothing_new_is_sent_and_what_is_under_way_is_told() -> None:
    echo = Echo(0.2)

    async def play() -> list[Record]:
        sender = sender_of(echo, Closed(users=3, requests=100, delay=10))
        sending = asyncio.create_task(sender.send(time.monotonic()))
        await asyncio.to_thread(eventually, lambda: echo.total == 3, what="each user has asked")
        sender.stopped.set()
        await sending
        return sender.take()

    assert len(asyncio.run(play())) == 3


def test_an_order_is_the_same_in_the_process_that_gets_it() -> None:
    for load in (Closed(users=3, duration=2.0), Open((Stage(1, 2, 3), Stage(4, 5, 6)), users=7)):
        order = Order("run", load, "chat", 10, 1, 2)
        assert Order.from_json(order.to_json()) == order
