"""`pipeline doctor` reports, and its exit code tells."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
import redis

from pipeline import beat
from pipeline.doctor import CHECKS
from pipeline.fingerprint import fingerprint
from pipeline.settings import Settings
from pipeline.store.ledger import workers
from tests.cli.conftest import Cli, cli, ledger_url, store
from tests.doctor.conftest import settings
from tests.servers import Broker

__all__ = ["cli", "ledger_url", "settings", "store"]


def test_what_is_wrong_fails_and_names_its_remedy_and_what_is_well_does_not(
    cli: Cli, store: object, broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITE_AGENT_BROKER_URL", broker.url)
    monkeypatch.setenv("CITE_AGENT_BROKER_TIMEOUT", "5")
    ill = cli("doctor")
    assert ill.exit_code == 1, ill.output
    assert "none is alive" in ill.stdout
    assert "→ start some: `celery -A pipeline worker`" in ill.stdout
    assert max(map(len, ill.stdout.splitlines())) <= 80

    workers.register(store, uuid4(), name="w", pid=1, lease=60, settings=fingerprint(settings))  # type: ignore[arg-type]
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        client.config_set("appendonly", "no")  # a warning
        beat.note(client, "host:1")
    well = cli("doctor", "--json")
    assert well.exit_code == 0, well.stdout
    report = json.loads(well.stdout)
    assert list(report) == list(CHECKS)
    assert report["broker persistence"][0]["level"] == "warning"
