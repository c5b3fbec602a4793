"""Users' names are labels for a few of the fleet, so that no number of users is too much for Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys

import psycopg
import pytest

from pipeline import metrics, signals, users
from pipeline.store.database import Database
from pipeline.store.measures.users import AHEAD, Watch, claim, claiming, expect, free
from pipeline.users import OTHER, UserLabels
from tests.metrics.conftest import MakeKnown
from tests.store.desk import Desk, new

WORKERS, USERS, MOST = 4, 10_000, 100

#: Counts a request of each of its users, as a worker does; prints how many series there are, and the users' labels.
COUNT = """
import json, sys
from pipeline import metrics, signals
from pipeline.schemas import Status
from pipeline.store.database import Database
from pipeline.store.measures.users import claiming

database = Database(sys.argv[1], size=1)
signals.label_users_by(claiming(database, int(sys.argv[4])))
for n in range(int(sys.argv[2]), int(sys.argv[3])):
    user = f"user {n}"
    signals.request_begun(user)
    signals.rate_limited(user)
    for status in Status.succeeded, Status.failed, Status.cancelled, Status.expired:
        signals.request_ended(status, user, seconds=1, attempts=1)
samples = [sample for family in metrics.CATALOGUE.collect() for sample in family.samples]
counted = [sample for sample in samples if sample.name == "cite_agent_requests_total"]
labels = sorted({sample.labels["user_id"] for sample in counted})
print(json.dumps({"series": len(samples), "labels": labels, "requests": sum(sample.value for sample in counted)}))
"""


def test_ten_thousand_users_over_four_workers_leave_a_bounded_number_of_series(
    database: str, make_known: MakeKnown
) -> None:
    make_known(*(f"user {n}" for n in range(USERS)))
    share = USERS // WORKERS
    started = [
        subprocess.Popen(
            [sys.executable, "-c", COUNT, database, str(n * share), str((n + 1) * share), str(MOST)],
            stdout=subprocess.PIPE,
        )
        for n in range(WORKERS)
    ]
    found = [json.loads(one.communicate(timeout=120)[0]) for one in started]
    assert [one["requests"] for one in found] == [4 * share] * WORKERS, "none is lost among the others"
    labels = {label for one in found for label in one["labels"]}
    assert len(labels) == MOST + 1, "the fleet's first hundred, and the rest"
    a_user = 4 + 4 * (14 + 2) + 1  # outcomes, their histograms (with the created samples dropped), refusals
    assert sum(one["series"] for one in found) < (MOST + WORKERS) * (a_user + 9) + WORKERS * 200


def test_a_full_fleet_is_not_asked_again_and_an_erased_user_makes_room(
    database: str, make_known: MakeKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_known("ada", "bob", "cy", "dan")
    store, lost = Database(database, size=1), list[str]()
    asked = 0

    def counting(user_ids: object) -> object:
        nonlocal asked
        asked += 1
        return ask(user_ids)  # type: ignore[arg-type]

    ask = claiming(store, 2)
    labels = UserLabels(counting, on_lost=lost.append)  # type: ignore[arg-type]
    labels.learn(["ada", "bob", "cy"])
    assert [labels.of(user) for user in ("ada", "bob", "cy", "dan")] == ["ada", "bob", OTHER, OTHER]
    assert asked == 1, "once for all of them, and no more when there is no room"

    free(store, "ada")
    assert labels.of("ada") == "ada", "until the process looks again"
    monkeypatch.setattr(users, "KEEP", 0.0)
    assert labels.of("bob") == "bob", "who is known is looked at again, too"
    assert lost == ["ada"]
    assert labels.of("dan") == "dan"
    assert (labels.of("ada"), labels.of("bob")) == (OTHER, "bob")
    store.close()


def test_who_watches_looks_at_all_that_is_shown_only_after_a_label_was_taken_away(
    database: str, make_known: MakeKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_known("watched and kept", "watched and erased")
    store, looks = Database(database, size=1), 0
    shown = signals.users_shown

    def counting() -> set[str]:
        nonlocal looks
        looks += 1
        return shown()

    monkeypatch.setattr(signals, "users_shown", counting)
    signals.label_users_by(claiming(store, 10))
    watch = Watch(store)
    signals.request_begun("watched and kept")
    signals.request_begun("watched and erased")
    watch.look()
    assert looks == 0
    free(store, "watched and erased")
    watch.look()
    assert "watched and erased" not in shown()
    assert "watched and kept" in shown()
    metrics.REQUESTS.labels("watched and erased", "failed").inc()  # a thread that was about to
    watch.look()
    assert "watched and erased" not in shown()
    watch.look()
    assert looks == 2
    signals.user_forgotten("watched and kept")
    store.close()


def test_who_is_nobodys_user_takes_no_label_from_those_who_are(database: str, make_known: MakeKnown) -> None:
    make_known("ada")
    store = Database(database, size=1)
    assert claim(store, ["stranger", "ada"], most=1) == {"ada"}
    store.close()


def test_processes_at_once_do_not_give_more_labels_than_there_are(database: str, make_known: MakeKnown) -> None:
    make_known("bob", "cy", "dan")
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO metric_users (user_id) VALUES ('ada')")
    store = Database(database, size=1)
    assert claim(store, ["bob", "cy", "bob"], most=2) == {"ada", "bob"}
    assert claim(store, ["dan"], most=1) == {"ada", "bob"}, "a smaller limit takes nobody's label"
    store.close()


def test_while_postgres_is_away_users_share_a_label_and_nobody_waits_twice() -> None:
    store = Database("postgresql://nobody@127.0.0.1:1/none", size=1, wait=0.2)
    labels = UserLabels(claiming(store, 10))
    assert labels.of("ada") == OTHER
    assert labels.of("bob") == OTHER
    store.close()


def test_the_series_of_whoever_waits_for_long_are_there_before_a_request_of_theirs_expires(database: str) -> None:
    store = Database(database, size=1)
    signals.label_users_by(claiming(store, 10))
    Desk(store).accept(new("soon late", deadline=AHEAD - 20), new("in time", deadline=AHEAD + 60))
    expect(store)
    made = {
        sample.labels["user_id"]: sample.value
        for sample in next(iter(metrics.REQUESTS.collect())).samples
        if sample.name == "cite_agent_requests_total" and sample.labels["status"] == "expired"
    }
    assert made["soon late"] == 0
    assert "in time" not in made
    signals.user_forgotten("soon late")
    store.close()
