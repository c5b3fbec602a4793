"""What agent code imports, and that importing it does no work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline import errors

#: What takes long to import, or would connect to something.
HEAVY = ["celery", "kombu", "redis", "sqlalchemy", "alembic", "psycopg", "openai", "pydantic", "starlette", "structlog"]


def run(program: str, folder: Path, **variables: str) -> str:
    """What a fresh interpreter prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CITE_AGENT_")}
    paths = os.pathsep.join(filter(None, [str(Path(pipeline.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**clean, "PYTHONPATH": paths, "CITE_AGENT_STACK_FILE": str(folder / "none.json"), **variables}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False, capture_output=True, text=True, cwd=folder, env=environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_to_import_the_package_does_no_work(tmp_path: Path) -> None:
    program = f"import sys, threading, pipeline; print({HEAVY} & sys.modules.keys() or '', threading.active_count())"
    assert run(program.replace(str(HEAVY), f"set({HEAVY})"), tmp_path) == "1"


def test_to_import_errors_and_values_does_not_import_celery_or_a_database(tmp_path: Path) -> None:
    program = f"import sys; from pipeline import InvalidRequest, Answer; print(sorted(set({HEAVY}) & set(sys.modules)))"
    assert run(program, tmp_path) == "[]"


def test_a_client_is_made_without_celery(tmp_path: Path) -> None:
    program = "import sys; from pipeline import Client; print([n for n in ('celery', 'openai') if n in sys.modules])"
    assert run(program, tmp_path) == "[]"


def test_a_worker_imports_the_openai_sdk_for_its_providers_alone(tmp_path: Path) -> None:
    program = (
        "import sys, pipeline.worker.runtime; from pipeline.providers.registry import Providers;"
        "from pipeline.settings import current; Providers(current()); print('openai' in sys.modules)"
    )
    assert run(program, tmp_path) == "False"
    given = '[{"name": "one", "base_url": "http://127.0.0.1:9/v1", "model": "m"}]'
    assert run(program, tmp_path, CITE_AGENT_PROVIDERS=given) == "True"


def test_every_name_in_the_table_of_contents_is_there() -> None:
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__name__.endswith(name)
    assert len(set(pipeline.__all__)) == len(pipeline.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = pipeline.Server
    with pytest.raises(ImportError):
        from pipeline import Server  # noqa: F401 - it cannot be imported


def test_a_star_import_brings_the_table_of_contents(tmp_path: Path) -> None:
    program = "from pipeline import *; print(Client.__name__, Handle.__name__, agent.__name__, WaitTimeout.__name__)"
    assert run(program, tmp_path) == "Client Handle agent WaitTimeout"


def test_without_addresses_a_client_says_what_to_do(tmp_path: Path) -> None:
    program = """
from pipeline import Client, ConfigurationError
try:
    Client()
except ConfigurationError as refusal:
    print(refusal)
"""
    said = run(program, tmp_path)
    assert "`pipeline up`" in said
    assert "CITE_AGENT_DATABASE_URL" in said


def test_a_client_connects_to_nothing_before_it_is_needed(tmp_path: Path) -> None:
    program = """
import threading
from pipeline import Client
client = Client()
print(threading.active_count())
client.close()
"""
    away = {"CITE_AGENT_DATABASE_URL": "postgresql://127.0.0.1:1/x", "CITE_AGENT_BROKER_URL": "redis://127.0.0.1:1"}
    assert run(program, tmp_path, **away) == "1"


def test_celery_finds_its_application(tmp_path: Path) -> None:
    away = {"CITE_AGENT_DATABASE_URL": "postgresql://127.0.0.1:1/x", "CITE_AGENT_BROKER_URL": "redis://127.0.0.1:1"}
    (tmp_path / "celeryconfig.py").write_text("raise SystemExit('somebody else's')")
    program = "import pipeline; app = pipeline.celery; print(app.main, app is pipeline.celery)"
    assert run(program, tmp_path, **away) == "pipeline True"


ERRORS = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, Exception) and one is not errors.PipelineError
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_one_root_and_says_what_it_means(error: type[Exception]) -> None:
    assert issubclass(error, errors.PipelineError)
    assert error.__doc__
    assert error.__module__ == "pipeline.errors"


def test_errors_carry_their_facts() -> None:
    failed = errors.RequestFailed("id-1", "http_503", 3)
    assert (failed.request_id, failed.reason, failed.attempts) == ("id-1", "http_503", 3)
    assert str(failed) == "request id-1 failed: http_503, after 3 attempt(s)"
    assert errors.WaitTimeout("id-1", 1.5).timeout == 1.5
    assert str(errors.LedgerUnavailable()) == errors.LedgerUnavailable.__doc__
