"""Who was erased is nowhere in the metrics any more: not in Postgres, and not where they are served."""

from __future__ import annotations

import json

from pipeline.estate import Totals
from pipeline.store.database import Database
from pipeline.store.measures import estates
from tests.fleet import PATIENCE, Fleet
from tests.metrics.scraping import ExporterProcess, fetch, total, url_of
from tests.metrics.test_exact import stop
from tests.servers import eventually


def shown(*urls: str, user: str) -> bool:
    """Whether a user's name is served there."""
    return any(user in json.dumps([sorted(given) for _, given in fetch(url, seen=False)]) for url in urls)


def test_an_erased_users_name_is_gone_from_postgres_and_from_every_process_and_the_counts_stay(
    fleet: Fleet, exporter: ExporterProcess
) -> None:
    whose = {"erased": 'ada "the first"', "kept": "bob"}
    leaver, stayer = fleet.start(2)
    url = url_of(fleet, stayer)
    handles = [fleet.ask(user_id=user, conversation_id=f"{user} {n}") for user in whose.values() for n in range(8)]
    fleet.assert_answered(handles)
    served = fetch(url, seen=False)
    stop(leaver)
    assert fleet.scalar("SELECT totals::text FROM metric_estates").count("the first"), "it was left by name"
    assert shown(url, user="the first")

    assert fleet.client.erase(whose["erased"]).complete
    left = fleet.rows("SELECT totals::text FROM metric_estates")
    assert "the first" not in str(left)
    assert "bob" in str(left) or total(served, "cite_agent_requests_total", user_id="bob") == 8
    everywhere = (url, exporter.start())
    eventually(lambda: not shown(*everywhere, user="the first"), PATIENCE, what="the name is served no more")
    counted = [fetch(one, seen=False) for one in everywhere]
    assert sum(total(one, "cite_agent_requests_total", user_id="other") for one in counted) == 8
    assert sum(total(one, "cite_agent_requests_total", user_id="bob") for one in counted) == 8


def test_what_an_exporter_had_adopted_before_an_erasure_is_served_without_the_name(
    fleet: Fleet, exporter: ExporterProcess
) -> None:
    store = Database(fleet.settings.database, size=1)
    fleet.rows("INSERT INTO metric_users (user_id) VALUES ('ada'), ('bob') RETURNING user_id")
    series = "cite_agent_requests_total"
    left: Totals = {(series, (("status", "success"), ("user_id", user))): 5.0 for user in ("ada", "bob")}
    estates.leave(store, left)
    url = exporter.start()
    assert total(fetch(url), series, user_id="ada") == 5
    assert fleet.client.erase("ada").complete
    served = fetch(url)
    assert [total(served, series, user_id=user) for user in ("ada", "bob", "other")] == [0, 5, 5]
    store.close()
