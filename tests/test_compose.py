"""What docker-compose.yml gives to the services, as Compose itself reads it. No daemon is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from pipeline.worker.step import LAST_CALL

ROOT = Path(__file__).parents[1]

#: A number of seconds, as Compose writes it.
SPAN = re.compile(r"(?:(\d+)m)?(\d+)s")

#: What .env must have.
PASSWORDS = "POSTGRES_PASSWORD=p1\nBROKER_PASSWORD=p2\nFLOWER_PASSWORD=p3\nCITE_AGENT_PROVIDERS='[]'\n"

#: What the file sets itself, and what it requires.
GIVEN = {"database_url", "broker_url", "stop_timeout", "metrics_host", "metrics_port", "providers"}

OURS = ("migrate", "worker", "upkeep", "beat", "flower", "exporter")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], check=False).returncode:
        pytest.skip("no Docker Compose")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    return tmp_path


def read_by_compose(folder: Path) -> subprocess.CompletedProcess[str]:
    """The file with its profiles, as Compose reads it there; or why it does not."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["docker", "compose", "--profile", "demo", "--profile", "monitoring", "config", "--format", "json"]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)


def services(folder: Path) -> dict[str, Any]:
    """Each service as Compose would start it, by name."""
    said = read_by_compose(folder)
    assert said.returncode == 0, said.stderr
    return dict(json.loads(said.stdout)["services"])


@pytest.fixture
def found(folder: Path) -> dict[str, Any]:
    """The services with nothing but what must be set."""
    (folder / ".env").write_text(PASSWORDS)
    return services(folder)


def test_every_setting_in_the_env_file_reaches_every_service_of_ours(folder: Path) -> None:
    names = {f"CITE_AGENT_{name.upper()}" for name in Settings.model_fields.keys() - GIVEN}
    (folder / ".env").write_text(PASSWORDS + "".join(f"{name}=as-set\n" for name in names))
    found = services(folder)
    for service in OURS:
        unheard = {name for name in names if found[service]["environment"].get(name) != "as-set"}
        assert not unheard, service


def test_the_addresses_within_the_network_are_not_those_that_the_env_file_has_for_this_machine(folder: Path) -> None:
    (folder / ".env").write_text(PASSWORDS + "CITE_AGENT_DATABASE_URL=postgresql://pipeline:p1@127.0.0.1:5432/x\n")
    found = services(folder)
    for service in OURS:
        assert found[service]["environment"]["CITE_AGENT_DATABASE_URL"].endswith("@postgres:5432/pipeline")


def test_nothing_of_the_env_file_reaches_what_is_not_ours(folder: Path) -> None:
    (folder / ".env").write_text(PASSWORDS + "CITE_AGENT_LEASE=20\n")
    found = services(folder)
    for service in ("postgres", "broker", "simulator"):
        assert not {name for name in found[service].get("environment") or {} if name.startswith("CITE_AGENT_")}
    assert "POSTGRES_PASSWORD" not in (found["simulator"].get("environment") or {})


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "BROKER_PASSWORD", "FLOWER_PASSWORD", "CITE_AGENT_PROVIDERS"])
@pytest.mark.parametrize("given", ["", "{name}="], ids=["missing", "empty"])
def test_what_must_be_set_has_no_default_and_is_named(folder: Path, name: str, given: str) -> None:
    others = [line for line in PASSWORDS.splitlines() if not line.startswith(name)]
    (folder / ".env").write_text("\n".join([*others, given.format(name=name)]))
    refused = read_by_compose(folder)
    assert refused.returncode != 0
    assert f"required variable {name} is missing a value" in refused.stderr


def test_what_stays_up_is_started_again_and_says_how_it_is(found: dict[str, Any]) -> None:
    lasting = found.keys() - {"migrate"}
    assert {name for name in lasting if found[name].get("restart") == "unless-stopped"} == lasting
    assert {name for name in lasting if "test" in found[name].get("healthcheck", {})} == lasting - {"grafana"}
    for service in set(OURS) - {"migrate"}:
        wanted = {name: needed["condition"] for name, needed in found[service]["depends_on"].items()}
        assert wanted == {
            "migrate": "service_completed_successfully", "postgres": "service_healthy", "broker": "service_healthy",
        }  # fmt: skip


def test_a_worker_is_given_the_time_that_it_takes_to_stop(found: dict[str, Any]) -> None:
    for service in ("worker", "upkeep"):
        minutes, seconds = SPAN.fullmatch(found[service]["stop_grace_period"]).groups(default="0")  # type: ignore[union-attr]
        takes = float(found[service]["environment"]["CITE_AGENT_STOP_TIMEOUT"]) + LAST_CALL
        assert int(minutes) * 60 + int(seconds) >= takes + 5


def test_the_broker_keeps_what_it_is_told_and_evicts_nothing(found: dict[str, Any]) -> None:
    command = " ".join(found["broker"]["command"])
    for option in ("--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction", "requirepass "):
        assert option in command


def test_no_service_is_published_beyond_this_machine_or_may_become_root(found: dict[str, Any]) -> None:
    for name, service in found.items():
        assert {port.get("host_ip") for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert (found["postgres"]["user"], found["broker"]["user"]) == ("postgres", "redis")
