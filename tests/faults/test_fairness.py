"""A user who floods the pipeline holds up nobody but themselves; and what is not urgent comes to its turn."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from pipeline import Handle
from pipeline.providers.simulator import Simulator
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

FLOOD = 5000

DONE = "WHERE finished_at IS NOT NULL"

#: Seconds that each request runs; two run at a time.
RUN = 0.2

#: Seconds that a busy machine may add.
BUSY = 2.0


def flood(fleet: Fleet, user: str, size: int, *, conversations: int) -> list[Handle]:
    """Requests of one user, in many conversations."""
    given = {"user_id": user, "agent": "wait", "metadata": {"seconds": RUN}}
    results = fleet.client.submit_many(
        [{"text": f"flood {n}", "conversation_id": f"c{n % conversations}", **given} for n in range(size)]
    )
    return [one for one in results if isinstance(one, Handle)]


def test_five_thousand_of_one_user_delay_others_by_one_round_and_take_turns_with_them(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=1, user_rate=f"{FLOOD}/second")
    fleet.may_leave_unfinished = True
    fleet.start(2)
    assert len(flood(fleet, "flooding", FLOOD, conversations=500)) == FLOOD
    eventually(lambda: fleet.running() == 2, PATIENCE, what="the flood runs")
    delays = []
    for number in range(10):
        began = time.monotonic()
        fleet.ask(user_id=f"other {number}", seconds=0).result(PATIENCE)
        delays.append(time.monotonic() - began)
    # what runs already, and one round of the flood's three places in two slots
    assert sorted(delays)[5] < RUN + 2 * RUN + BUSY / 2, delays
    assert max(delays) < RUN + 2 * RUN + BUSY, delays
    assert fleet.scalar(f"SELECT count(*) FROM requests {DONE} AND user_id = 'flooding'") < FLOOD / 2

    late = [f"late {number}" for number in range(3)]
    for user in late:
        assert len(flood(fleet, user, 200, conversations=200)) == 200
    before = fleet.scalar(f"SELECT count(*) FROM requests {DONE}")
    eventually(lambda: fleet.scalar(f"SELECT count(*) FROM requests {DONE}") > before + 60, PATIENCE)
    shares = fleet.rows(f"SELECT count(*) FROM requests {DONE} AND user_id LIKE 'late%%' GROUP BY user_id")
    assert len(shares) == 3
    assert min(shares)[0] >= 60 / 4 - 3  # they take turns with the flood, which was there long before them
    assert max(shares)[0] - min(shares)[0] <= 2 * fleet.settings.user_concurrency


@contextmanager
def constantly_urgent(fleet: Fleet, users: int) -> Iterator[list[int]]:
    """So many users who each ask, urgently, wait for the answer and ask again; and how many were answered."""
    stop = threading.Event()
    answered: list[int] = []
    numbers = count()

    def ask(user: int) -> None:
        while not stop.is_set():
            fleet.ask(user_id=f"urgent {user}", priority="urgent", seconds=RUN / 2).result(PATIENCE)
            answered.append(next(numbers))

    threads = [threading.Thread(target=ask, args=(user,)) for user in range(users)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)


def test_batch_under_constant_urgent_is_served_by_its_age_alone(
    database: str, broker: Broker, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(database, broker.url, worker_slots=1, ageing=1.0)
    fleet.start(1)
    with constantly_urgent(fleet, 6) as answered:
        eventually(lambda: len(answered) > 5, PATIENCE)
        batch = fleet.ask("no hurry", user_id="bob", priority="batch")
        fleet.assert_answered([batch], attempts=1)
    # never before it had become urgent itself, and then like any other
    facts = "queue, publications, extract(epoch FROM started_at - accepted_at) >= 2"
    assert fleet.rows(f"SELECT {facts} FROM requests WHERE id = %s", batch.id) == [(0, 3, True)]


def test_what_is_tried_again_under_constant_urgent_comes_to_its_turn_as_well(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    simulator.script("503")
    providers = provider_at(simulator.url)
    fleet = make_fleet(database, broker.url, worker_slots=1, ageing=1.0, retry_initial_delay=2, providers=providers)
    fleet.start(1)
    batch = fleet.ask("no hurry", agent="chat", user_id="bob", priority="batch")
    eventually(lambda: fleet.attempts(batch), PATIENCE, what="its first attempt")
    with constantly_urgent(fleet, 6):
        assert batch.result(PATIENCE).attempts == 2


def test_a_flood_under_a_providers_rate_holds_up_others_by_its_places_alone(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet
) -> None:
    size, rate = 300, 60
    limited = [{**provider_at(simulator.url)[0], "requests_per_minute": rate}]
    fleet = make_fleet(database, broker.url, providers=limited, worker_slots=20, user_rate=f"{size}/second")
    fleet.may_leave_unfinished = True
    fleet.start(1)
    spent = [[int(time.time()) - 60 + second, rate // 60, 0] for second in range(60)]  # one becomes free each second
    name = limited[0]["name"]
    fleet.client.redis.set(f"cite_agent:limits:{name}", json.dumps({"closed_until": 0, "seconds": spent}), ex=120)
    flooding = [
        {"text": "flood", "user_id": "flooding", "conversation_id": f"c{n}", "agent": "chat"} for n in range(size)
    ]
    fleet.client.submit_many(flooding)
    eventually(
        lambda: fleet.scalar(f"SELECT count(*) FROM requests {DONE}") > 2, PATIENCE, what="the flood is answered"
    )
    began = time.monotonic()
    fleet.ask(user_id="bob", agent="chat").result(PATIENCE)
    took = time.monotonic() - began
    # the flood's three places, and its own second
    assert took < fleet.settings.user_concurrency + 1 + 3 * BUSY
