"""What docker-compose.yml gives to the services, as Compose itself reads it. No daemon is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]

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


def services(folder: Path) -> dict[str, Any]:
    """Each service as Compose would start it, by name."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["docker", "compose", "--profile", "demo", "config", "--format", "json"]
    said = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return dict(json.loads(said.stdout)["services"])


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
