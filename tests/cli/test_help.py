"""The help is quick, complete and narrow, and needs nothing but the package."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import COMMANDS, main
from tests.cli.terminal import PIPELINE, environment, run

#: Seconds of processor time.
QUICK = 0.5

#: None of these is needed to show what there is.
HEAVY = ("sqlalchemy", "psycopg", "celery", "pydantic", "redis", "starlette", "structlog")


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, by the words that call it."""
    yield path
    context = typer.Context(command)
    for name in getattr(command, "commands", ()):
        _, found, _ = command.resolve_command(context, [name])
        yield from paths(found, (*path, name))


EVERY = list(paths(typer.main.get_command(main)))


def test_every_command_that_is_promised_is_there() -> None:
    assert {" ".join(path) for path in EVERY} == {
        *("", "demo", "up", "simulate", "stress", "ask", "exporter"),
        *("requests", "requests list", "requests show", "requests cancel", "requests retry"),
        *("sessions", "sessions list", "sessions show", "sessions archive", "sessions restore"),
        *("sessions export", "sessions erase", "sessions receipt"),
        *("archive", "archive sweep", "archive verify"),
        *("providers", "providers list", "providers reset"),
        *("db", "db upgrade", "db check"),
        *("status", "doctor"),
    }


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_each_help_has_an_example_and_fits_80_columns(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0, result.output
    assert " ".join(("Example: pipeline", *path[:1])) in " ".join(result.output.split()).replace("`", "")
    assert max(map(len, result.output.splitlines())) <= 80


def test_the_help_loads_none_of_the_heavy_packages(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.cli import main; main(['--help'], standalone_mode=False)\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert ran.stderr.split() == []


def test_the_help_is_quick(tmp_path: Path) -> None:
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*PIPELINE, "--help"], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < QUICK


def test_each_summary_is_one_line_of_the_list(tmp_path: Path) -> None:
    listed = run("--help", folder=tmp_path).stdout
    for command in COMMANDS:
        assert command.summary in listed


def test_what_is_not_a_command_is_misuse(tmp_path: Path) -> None:
    ran = run("answer", folder=tmp_path)
    assert ran.returncode == 2
    assert "No such command 'answer'" in ran.stderr
