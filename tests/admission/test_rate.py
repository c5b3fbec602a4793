"""What a user may submit: so many in any stretch of time, counted over all clients."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from pipeline import ConfigurationError, Handle, RateLimited, Settings, metrics
from pipeline.admission.tally import Tally
from pipeline.errors import PipelineError
from pipeline.rate import Rate
from pipeline.settings import current
from tests.admission.conftest import Connect
from tests.servers import Broker
from tests.store.desk import Sql, count

MUCH = 1_000_000


def tally(client: redis.Redis, rate: str) -> Tally:
    return Tally(client, Rate.parse(rate), most=MUCH, warn_at=MUCH)


def let_in(verdicts: list[int]) -> int:
    return verdicts.count(0)


# -- as it is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"), [("600/minute", Rate(600, 60)), ("1/day", Rate(1, 86400)), (" 5 / second ", Rate(5, 1))]
)
def test_a_rate_is_a_number_per_period(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("text", ["", "600", "600/", "0/minute", "-1/minute", "1.5/second", "600/minutes", "many/day"])
def test_what_is_no_rate_is_a_setting_that_says_so(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_USER_RATE", text)
    current.cache_clear()
    with pytest.raises(ConfigurationError, match=r"CITE_AGENT_USER_RATE: .* is no rate; write"):
        current()
    current.cache_clear()


@pytest.mark.parametrize(
    ("seconds", "told"), [(3599.4, "3600 s"), (86_000.0, "86000 s"), (10.0, "10 s"), (1.004, "1.1 s"), (0.2, "0.2 s")]
)
def test_a_refusal_tells_in_plain_digits_when_to_come_again_and_never_too_early(seconds: float, told: str) -> None:
    assert str(RateLimited("5/day", seconds)) == f"user_id: this user has used up 5/day; try again in {told}"


# -- as it is kept ----------------------------------------------------------------------------------------------------


def test_what_was_let_in_under_a_shorter_period_locks_nobody_out_under_a_longer(redis_client: redis.Redis) -> None:
    assert let_in(tally(redis_client, "600/minute").look(["ada"] * 500).verdicts) == 500
    longer = tally(redis_client, "400/hour")
    assert let_in(longer.look(["ada"] * 401).verdicts) == 400
    refused = longer.look(["ada"]).verdicts[0] / 1000
    assert 3000 < refused <= 3600 * 1.05
    assert let_in(tally(redis_client, "600/minute").look(["ada"] * 10).verdicts) == 10, "and back again"


def test_no_stretch_of_time_brings_more_than_the_limit(redis_client: redis.Redis) -> None:
    """A counter that begins anew at each full second would let through twice as many around it."""
    limiter = tally(redis_client, "20/second")
    asked_and_told: list[tuple[float, float]] = []
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        asked = time.monotonic()
        if let_in(limiter.look(["ada"]).verdicts):
            asked_and_told.append((asked, time.monotonic()))
        time.sleep(0.005)
    # those that came within a second of each other for certain, whenever the broker looked at them
    assert max(sum(1 for _, told in asked_and_told if 0 <= told - asked < 1) for asked, _ in asked_and_told) <= 20
    assert len(asked_and_told) >= 40


def test_who_waits_as_long_as_told_is_let_in_and_no_sooner(redis_client: redis.Redis) -> None:
    limiter = tally(redis_client, "10/second")
    for user in ("ada", "bob", "cyd", "dan"):
        began = time.monotonic()
        assert let_in(limiter.look([user] * 6).verdicts) == 6
        time.sleep(0.3)
        verdicts = limiter.look([user] * 8).verdicts
        if time.monotonic() - began > 0.9:
            continue  # the machine stood still meanwhile
        assert let_in(verdicts) == 4
        told, wait = time.monotonic(), max(verdicts) / 1000
        assert 0 < wait < 1
        time.sleep(wait / 2)
        early = let_in(limiter.look([user]).verdicts)
        if time.monotonic() - told > wait - 0.01:
            continue
        assert early == 0
        time.sleep(wait / 2 + 0.005)
        assert let_in(limiter.look([user]).verdicts) == 1
        return
    pytest.fail("the machine is too busy to tell a second")


def test_each_user_has_a_rate_of_their_own_and_each_item_its_weight(redis_client: redis.Redis) -> None:
    limiter = tally(redis_client, "3/hour")
    verdicts = limiter.look(["ada", "bob", "ada", "ada", "ada", "bob", "ada"]).verdicts
    assert [one == 0 for one in verdicts] == [True, True, True, True, False, True, False]
    assert let_in(limiter.look(["ada", "bob", "bob"]).verdicts) == 1


def test_a_refusal_uses_up_nothing(redis_client: redis.Redis) -> None:
    limiter = tally(redis_client, "3/hour")
    limiter.look(["ada"] * 3)
    before = redis_client.hgetall("cite_agent:rate:ada")
    assert let_in(limiter.look(["ada"] * 50).verdicts) == 0
    assert redis_client.hgetall("cite_agent:rate:ada") == before


def test_what_is_known_of_a_user_is_forgotten_after_two_windows(redis_client: redis.Redis) -> None:
    tally(redis_client, "3/minute").look(["ada"])
    assert 100 <= redis_client.ttl("cite_agent:rate:ada") <= 120


def test_ten_clients_at_once_let_in_no_more_than_one_would(redis_client: redis.Redis) -> None:
    limiter = tally(redis_client, "100/hour")
    with ThreadPoolExecutor(10) as threads:
        looks = list(threads.map(lambda n: limiter.look(["ada"] * (n % 3 + 1)), range(90)))
    assert sum(let_in(look.verdicts) for look in looks) == 100


# -- as a caller sees it ----------------------------------------------------------------------------------------------


def test_over_the_rate_a_submission_is_refused_and_leaves_no_trace(connect: Connect, broker: Broker, sql: Sql) -> None:
    client = connect(broker.url, user_rate="2/hour")
    asked: dict[str, Any] = {"text": "Hello.", "user_id": "ada", "conversation_id": "thesis"}
    assert [isinstance(one, Handle) for one in client.submit_many([asked] * 2)] == [True, True]
    hits = metrics.RATE_LIMIT_HITS.labels("ada")._value  # one of the first users, who have series of their own
    before = hits.get()
    with pytest.raises(RateLimited, match="2/hour; try again in") as refused:
        client.submit(**{**asked, "conversation_id": "new"})
    assert hits.get() == before + 1
    assert 0 < refused.value.retry_after <= 3780
    assert isinstance(client.submit(**{**asked, "user_id": "bob"}), Handle)
    mixed = client.submit_many([asked, {**asked, "user_id": "bob"}, {**asked, "text": ""}, asked])
    assert [type(one).__name__ for one in mixed] == ["RateLimited", "Handle", "InvalidRequest", "RateLimited"]
    assert isinstance(mixed[0], PipelineError)
    assert (count(sql, "requests"), count(sql, "sessions")) == (4, 2)


def test_the_default_lets_a_user_send_six_hundred_a_minute() -> None:
    assert Rate.parse(Settings().user_rate) == Rate(600, 60)
