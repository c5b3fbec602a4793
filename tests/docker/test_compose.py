"""docker-compose.yml with its profiles for trying out and for monitoring: what it shows an operator."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml  # type: ignore[import-untyped]  # ships no types

from pipeline import Client, Settings
from pipeline.local import roster
from tests.docker.compose import ROOT, Compose, missing
from tests.docker.conftest import TAG, need
from tests.docker.containers import BROKER_IMAGE, HOST, PASSWORD, POSTGRES_IMAGE, PROMETHEUS_IMAGE
from tests.metrics.prometheus import Api
from tests.metrics.test_prometheus import queries
from tests.metrics.test_rules import ALERTS
from tests.servers import eventually

pytestmark = pytest.mark.docker

PORTS = ("POSTGRES_PORT", "BROKER_PORT", "FLOWER_PORT", "PROMETHEUS_PORT")

#: All but Grafana, whose image is none of ours and not needed to know what it will show.
SERVICES = (
    *("postgres", "broker", "migrate", "worker", "upkeep", "beat", "flower", "exporter", "prometheus", "simulator"),
)

PROVIDERS = [{"name": "simulator", "base_url": "http://simulator:8000/v1", "model": "simulated", "input_price": 1.0}]

#: What is made by refusals, failures and faults, of which there are none here; test_prometheus makes them.
QUIET = re.compile("rate_limit_hits|provider_errors|retry_duration|deferrals|lost_claims|faults_total|garbage")


@pytest.fixture
def settings(docker_client: docker.DockerClient) -> dict[str, str]:
    """What a user would write into .env."""
    if why := missing():
        pytest.skip(why)
    need(docker_client, PROMETHEUS_IMAGE)
    return {
        **{f"{server}_PASSWORD": PASSWORD for server in ("POSTGRES", "BROKER", "FLOWER")},
        **{port: str(roster.free_port()) for port in PORTS},
        "COMPOSE_PROFILES": "demo,monitoring",
        "CITE_AGENT_PROVIDERS": json.dumps(PROVIDERS),
        "IMAGE_TAG": TAG.partition(":")[2],
        "POSTGRES_IMAGE": POSTGRES_IMAGE,
        "BROKER_IMAGE": BROKER_IMAGE,
        "PROMETHEUS_IMAGE": PROMETHEUS_IMAGE,
    }


@pytest.fixture
def compose(pipeline_image: Any, settings: dict[str, str], tmp_path: Path) -> Iterator[Compose]:
    """All of it, up and healthy."""
    project = Compose(f"pipeline-test-{secrets.token_hex(4)}", tmp_path, settings)
    try:
        project.up(SERVICES)
        yield project
    except BaseException:
        print(project.logs())  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        project.down()


def ask(client: Client, count: int) -> None:
    """As many requests of four users, until they are answered."""
    handles = [client.submit("What did I cite?", user_id=f"user {n % 4}", conversation_id=str(n)) for n in range(count)]
    assert all(handle.result(60).text for handle in handles)


def test_prometheus_scrapes_all_of_them_knows_the_alerts_and_answers_every_panel(
    compose: Compose, settings: dict[str, str]
) -> None:
    prometheus = Api(f"http://{HOST}:{settings['PROMETHEUS_PORT']}")
    agents = Settings(
        database_url=f"postgresql://pipeline:{PASSWORD}@{HOST}:{settings['POSTGRES_PORT']}/pipeline",
        broker_url=f"redis://:{PASSWORD}@{HOST}:{settings['BROKER_PORT']}/0",
    )
    everyone = {"pipeline-workers": ["up"] * 3, "pipeline-exporter": ["up"]}
    eventually(lambda: prometheus.targets() == everyone, 60, what="two workers, upkeep and the exporter are scraped")
    assert set(prometheus.alerts()) == set(ALERTS)

    wanted = [(title, query) for title, query, _ in queries() if not QUIET.search(query)]

    def empty() -> list[tuple[str, str]]:
        return [(title, query) for title, query in wanted if not prometheus.query(query)]

    with closing(Client(agents)) as client:
        ask(client, 20)
        eventually(lambda: prometheus.query("sum(cite_agent_requests_total) >= 20"), 60, what="they are counted")
        ask(client, 20)  # what rises shows in a rate
        eventually(lambda: not empty(), 60, what="every panel shows something")
    succeeded = 'sum(cite_agent_requests_total{status="success"})'
    eventually(lambda: prometheus.query(succeeded) == [({}, 40)], 60, what="all of them are counted, and no more")
    assert not [alert for alert in prometheus.alerts().values() if alert.state == "firing"]

    source = yaml.safe_load((ROOT / "ops/grafana/provisioning/datasources/prometheus.yml").read_text())
    ready = f"import urllib.request as u; print(u.urlopen('{source['datasources'][0]['url']}/-/ready').status)"
    assert compose.inside("flower", "python", "-c", ready).strip() == "200", "where Grafana will look for it"
