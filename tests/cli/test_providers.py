"""What operators see of breakers, and how they close one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pipeline.errors import ProviderError
from pipeline.providers.simulator import Fault, Simulator
from pipeline.providers.turns import BREATH
from pipeline.schemas import Status
from pipeline.settings import current
from pipeline.store.ledger import recover
from tests.cli.conftest import Cli
from tests.providers.routed import Routed, routed
from tests.servers import Broker, eventually
from tests.store.desk import Desk, Sql, ending


@pytest.fixture
def one(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Routed]:
    """Two providers; the first one's breaker is open, the second asked for a pause."""
    with Simulator() as dead, Simulator() as busy:
        dead.script(*["503"] * 20)
        busy.script(Fault(kind="429", retry_after=120))
        one = routed(broker.url, [dead, busy])
        for _ in range(10):
            with pytest.raises(ProviderError):
                one.call()
        eventually(lambda: one.facts()[0].state == "open" and one.facts()[1].closed_until, what="both are out")
        monkeypatch.setenv("CITE_AGENT_BROKER_URL", broker.url)
        providers = [{"name": p.name, "base_url": p.base_url, "model": p.model} for p in one.settings.providers]
        monkeypatch.setenv("CITE_AGENT_PROVIDERS", json.dumps(providers))
        yield one
        one.close()


def states(cli: Cli) -> list[str]:
    return [row["state"] for row in json.loads(cli("providers", "list", "--json").stdout)]


def test_providers_are_listed_with_state_since_when_why_and_the_next_trial(cli: Cli, one: Routed) -> None:
    listed = cli("providers", "list")
    assert listed.exit_code == 0, listed.output
    head, first, second = listed.stdout.splitlines()
    assert head.split() == ["PROVIDER", "MODEL", "STATE", "SINCE", "(UTC)", "WHY", "CALLS", "AGAIN", "(UTC)"]
    assert first.split()[:3] == ["p0", "m", "open"]
    assert "http_503" in first
    assert second.split()[:3] == ["p1", "m", "closed"]
    assert "Retry-After" in second
    assert max(map(len, listed.stdout.splitlines())) <= 80
    facts = json.loads(cli("providers", "list", "--json").stdout)[0]
    assert (facts["why"], facts["since"] < facts["next_trial"]) == ("http_503", True)


@pytest.mark.parametrize("arguments", [["p0"], ["--all"]])
def test_a_breaker_is_closed_by_hand(cli: Cli, one: Routed, arguments: list[str]) -> None:
    assert cli("providers", "reset", *arguments).exit_code == 0
    assert states(cli) == ["closed", "closed"]
    assert (one.facts()[1].closed_until is None) == (arguments == ["--all"])


def test_who_waits_for_a_provider_or_was_asked_to_comes_once_its_breaker_is_closed_by_hand(
    cli: Cli, one: Routed, desk: Desk, sql: Sql
) -> None:
    put_off = [desk.running(conversation=name, user=name) for name in ("first", "second")]
    for nth, claimed in enumerate(put_off):
        desk.end(ending(claimed, Status.queued, reason="retry_after", delay=100 + nth))
    retried, asked = [desk.running(conversation=name, user=name) for name in ("third", "fourth")]
    desk.end(ending(retried, Status.retrying, reason="http_429", delay=60))
    desk.end(ending(asked, Status.retrying, reason="http_429", delay=3600))
    put_off.append(asked)
    told = cli("providers", "reset", "p1")
    assert told.stdout.splitlines() == ["p1: closed", "3 waiting requests are asked again"]
    due = {one.id for one in recover.due(desk.database, concurrency=desk.concurrency)}
    assert due <= {one.id for one in put_off}
    later = sql.execute("SELECT id FROM requests WHERE due_at > now() + interval '50 seconds'").fetchall()
    assert later == [(retried.id,)]
    [(apart,)] = sql.execute(
        "SELECT extract(epoch FROM max(due_at) - min(due_at))::float8 FROM requests WHERE id <> %s", (retried.id,)
    ).fetchall()
    assert apart == pytest.approx(2 * BREATH)


def test_a_breaker_is_closed_though_postgres_is_away(cli: Cli, one: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere?connect_timeout=1")
    current.cache_clear()
    told = cli("providers", "reset", "p0")
    assert told.exit_code == 1
    assert told.stdout.splitlines()[0] == "p0: closed"
    assert "Postgres does not answer at 127.0.0.1:1" in told.output
    assert states(cli)[0] == "closed"


@pytest.mark.parametrize("arguments", [["p9"], [], ["p0", "--all"]])
def test_a_name_that_is_none_is_refused_with_those_that_are(cli: Cli, one: Routed, arguments: list[str]) -> None:
    refused = cli("providers", "reset", *arguments)
    assert refused.exit_code == 2
    assert "p0, p1, or --all" in refused.output
    assert states(cli)[0] == "open"


def test_a_broker_that_is_away_is_one_line(cli: Cli, one: Routed, broker: Broker) -> None:
    broker.kill()
    gone = cli("providers", "list")
    assert (gone.exit_code, len(gone.output.splitlines())) == (1, 1)
    assert "CITE_AGENT_BROKER_URL" in gone.output


def test_without_providers_the_remedy_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", "/nowhere/stack.json")
    monkeypatch.setenv("CITE_AGENT_PROVIDERS", "[]")
    told = cli("providers", "list")
    assert told.exit_code == 2
    assert "CITE_AGENT_PROVIDERS" in told.output
