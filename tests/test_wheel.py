"""What is built works where there is no checkout, beside files of a user's own that have our names."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import psycopg
import pytest

from pipeline.store import migrate
from tests.servers import Broker

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds. Wheels of pure Python are installed by unpacking them."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # isolated from the checkout: neither the working folder nor an editable install comes before what was unpacked
    code = (
        "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); module = sys.argv.pop(1);"
        " runpy.run_module(module, None, '__main__')"
    )
    command = [sys.executable, "-c", code, str(installed), *arguments]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=folder, env={**variables, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A user's working folder."""
    for name in ("celeryconfig.py", "migrations.py", "stress.py"):
        (tmp_path / name).write_text("raise RuntimeError('not ours')\n")
    return tmp_path


def test_the_wheel_upgrades_and_checks_a_database_in_a_folder_with_a_foreign_celeryconfig(
    installed: Path, foreign: Path, database: str, broker: Broker
) -> None:
    migrate.downgrade(database, "base")
    urls = {"CITE_AGENT_DATABASE_URL": database, "CITE_AGENT_BROKER_URL": broker.url}
    upgraded = run(installed, foreign, "pipeline", "db", "upgrade", **urls)
    assert upgraded.returncode == 0, upgraded.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (0,)
    assert run(installed, foreign, "pipeline", "db", "check", **urls).returncode == 0


def test_celery_reads_the_wheels_own_settings_there(installed: Path, foreign: Path, broker: Broker) -> None:
    reported = run(
        installed,
        foreign,
        "celery",
        "-A",
        "pipeline",
        "report",
        CITE_AGENT_DATABASE_URL="postgresql://nobody@/none",
        CITE_AGENT_BROKER_URL=broker.url,
    )
    assert reported.returncode == 0, reported.stderr
    assert "pipeline.transport.broker:Transport" in reported.stdout


def test_the_wheels_own_harness_is_run_there(installed: Path, foreign: Path) -> None:
    helped = run(installed, foreign, "pipeline", "stress", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "Example: pipeline stress --users 50" in helped.stdout


def test_the_wheel_carries_all_that_is_loaded_by_path(installed: Path) -> None:
    bundled = installed / "pipeline" / "bundled"
    assert (bundled / "celeryconfig.py").exists()
    assert list((bundled / "migrations" / "versions").glob("0001_*.py"))
    assert (bundled / "stress" / "overhead" / "__main__.py").exists()
    assert (bundled / "stress" / "report" / "charts.js").exists()
