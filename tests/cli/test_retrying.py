"""Dead letters: found by what befell them, and asked again, one by one or all, no faster than told."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from pipeline.cli import retrying
from pipeline.client.submission import time_ordered_id
from pipeline.schemas import Call, Status
from pipeline.store.invariants import check
from tests.cli.conftest import Cli
from tests.store.desk import Desk, Sql, answered, count, ending, new, row

#: A port that nobody listens on: what is replayed waits for recovery to publish it.
NO_BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_BROKER_URL", NO_BROKER)
    monkeypatch.setenv("CITE_AGENT_BROKER_TIMEOUT", "0.2")


def dead(
    desk: Desk, user: str = "ada", *, reason: str | None = "http_503", provider: str = "mistral", **how: Any
) -> UUID:
    """A request that has ended without an answer."""
    one = new(user, str(how.pop("conversation", "thesis")), id=time_ordered_id())
    desk.accept(one)
    now = datetime.now(UTC)
    called = (Call(provider, "large", now, None, now, 503, reason),)
    desk.end(ending(desk.claim_one(one.id), how.get("status", Status.failed), reason=reason, calls=called))
    return one.id


def listed(cli: Cli, *options: str) -> list[str]:
    result = cli("requests", "list", "--json", *options)
    assert result.exit_code == 0, result.output
    return [one["id"] for one in json.loads(result.stdout)]


def retried(cli: Cli, *options: str, exit_code: int = 0) -> list[dict[str, str | None]]:
    result = cli("requests", "retry", "--json", *options)
    assert result.exit_code == exit_code, result.output
    return list(json.loads(result.stdout))


# -- to find them -----------------------------------------------------------------------------------------------------


def test_requests_are_found_by_reason_provider_and_time(cli: Cli, desk: Desk, sql: Sql) -> None:
    old, other, bobs = dead(desk), dead(desk, reason="timeout", provider="groq"), dead(desk, "bob")
    sql.execute("UPDATE requests SET accepted_at = now() - interval '2 hours' WHERE id = %s", [old])
    hour_ago = datetime.fromtimestamp(time.time() - 3600, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    for options, expected in (
        (("--reason", "timeout"), [other]),
        (("--reason", "http_503", "--user", "bob"), [bobs]),
        (("--provider", "groq"), [other]),
        (("--provider", "none"), []),
        (("--since", "90m"), [bobs, other]),
        (("--until", "90m"), [old]),
        (("--since", hour_ago, "--provider", "mistral"), [bobs]),
        (("--since", f"{hour_ago}+00:00", "--until", "1m"), []),
        (("--status", "failed", "--since", "3h"), [bobs, other, old]),
    ):
        assert listed(cli, *options) == [str(id_) for id_ in expected], options


@pytest.mark.parametrize("text", ["yesterday", "", "2h30m", "-1h", "2026-13-01"])
def test_what_is_no_time_is_misuse_that_says_how_to_write_one(cli: Cli, text: str) -> None:
    result = cli("requests", "list", "--since", text)
    assert result.exit_code == 2
    assert "90m" in result.output


def test_a_list_tells_why_each_ended(cli: Cli, desk: Desk) -> None:
    id_ = dead(desk)
    assert [str(id_), "failed", "http_503"] in [
        line.split()[:3] for line in cli("requests", "list").stdout.splitlines()
    ]


# -- to ask again -----------------------------------------------------------------------------------------------------


def test_those_that_are_named_are_asked_again_and_the_others_explained(cli: Cli, desk: Desk, sql: Sql) -> None:
    failed, expired = dead(desk), dead(desk, status=Status.expired, reason=None)
    cancelled = dead(desk, status=Status.cancelled, reason=None)
    done = desk.running()
    desk.end(answered(done))
    given = [str(id_) for id_ in (failed, done.id, expired, cancelled)]
    told = retried(cli, *given, "nonsense", exit_code=1)
    assert [one["request"] for one in told] == [*given, "nonsense"]
    assert [one["replay"] is not None for one in told] == [True, False, True, True, False]
    assert told[1]["refused"] == f"request {done.id} cannot be retried: it succeeded"
    assert told[4]["refused"] == "there is no request nonsense"
    assert row(sql, UUID(told[0]["replay"]), "retry_of, status, text") == (failed, "queued", "What did I cite?")
    assert check(desk.database) == []


def test_one_that_is_named_twice_is_asked_again_once(cli: Cli, desk: Desk, sql: Sql) -> None:
    id_ = str(dead(desk))
    first, second = retried(cli, id_, id_.upper(), "--rate", "100")
    assert first["replay"] == second["replay"]
    assert count(sql, "requests") == 2


def test_all_of_a_filter_are_asked_again_once(cli: Cli, desk: Desk, sql: Sql) -> None:
    wanted = [dead(desk, conversation=f"c{number}") for number in range(3)]
    for other in ({"reason": "timeout"}, {"user": "bob"}, {"status": Status.expired}, {"status": Status.cancelled}):
        dead(desk, **other)
    options = ("--all", "--reason", "http_503", "--user", "ada", "--provider", "mistral", "--since", "1h")
    told = retried(cli, *options, "--rate", "1000")
    assert [one["request"] for one in told] == [str(id_) for id_ in wanted]
    assert retried(cli, *options) == []


def test_a_replay_that_failed_too_is_the_one_to_be_asked_again(cli: Cli, desk: Desk) -> None:
    dead(desk)
    (first,) = retried(cli, "--all")
    assert first["replay"] is not None
    desk.end(ending(desk.claim_one(UUID(first["replay"])), Status.failed, reason="http_503"))
    assert [one["request"] for one in retried(cli, "--all")] == [first["replay"]]


def test_expired_ones_come_with_all_when_asked_for(cli: Cli, desk: Desk) -> None:
    failed, expired = dead(desk), dead(desk, status=Status.expired, reason=None)
    told = retried(cli, "--all", "--status", "expired")
    assert [one["request"] for one in told] == [str(expired)]
    assert [one["request"] for one in retried(cli, "--all")] == [str(failed)]
    assert cli("requests", "retry", "--all", "--status", "cancelled").exit_code == 2


def test_no_more_are_asked_again_than_the_rate_allows(cli: Cli, desk: Desk, sql: Sql) -> None:
    for number in range(21):
        dead(desk, conversation=f"c{number}")
    began = time.monotonic()
    assert len(retried(cli, "--all", "--rate", "20")) == 21
    assert time.monotonic() - began >= 1
    spread = sql.execute("SELECT count(DISTINCT accepted_at) FROM requests WHERE retry_of IS NOT NULL").fetchone()
    assert spread is not None
    assert spread[0] >= 5


def test_what_a_stall_has_held_up_does_not_follow_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, begun = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def retry_many(batch: Sequence[str]) -> list[str]:
        begun.append(now)
        sleep(10.0 if len(begun) == 2 else 0.0)
        return ["refused"] * len(batch)

    client = SimpleNamespace(retry_many=retry_many)
    monkeypatch.setattr("pipeline.client.Client", lambda: nullcontext(client))
    monkeypatch.setattr(retrying, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    assert len(list(retrying._replayed([f"{number}" for number in range(20)], 20.0))) == 20
    assert begun == pytest.approx([0.0, 0.2, 10.2, 10.4, 10.6])


@pytest.mark.parametrize("options", [(), ("--reason", "http_503"), ("--all", "id"), ("id", "--reason", "http_503")])
def test_ids_or_all_of_a_filter_but_not_both(cli: Cli, options: tuple[str, ...]) -> None:
    result = cli("requests", "retry", *options)
    assert result.exit_code == 2
    assert "give the ids of requests, or --all" in result.stderr


def test_what_is_said_fits_people_too(cli: Cli, desk: Desk) -> None:
    id_ = dead(desk)
    first, last = cli("requests", "retry", str(id_)).stdout.splitlines()
    assert first.startswith(f"request {id_} is asked again as ")
    assert last == "1 asked again, 0 refused"
