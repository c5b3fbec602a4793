"""`pipeline stress`: the stress harness, which lives beside the package and is loaded by path."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import typer

from pipeline.errors import ConfigurationError
from pipeline.resources import bundled

stress = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@stress.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def _stress(context: typer.Context) -> None:
    """Push load through a pipeline, and check what it did. The harness reads its own arguments, `--help` included."""
    load_harness()
    producer = importlib.import_module("stress.producer")
    raise typer.Exit(producer.main(context.args, "pipeline stress"))


def load_harness() -> None:
    """Make the package `stress` importable: ours, whatever a user's own folder has under that name.

    Raises ConfigurationError where it, or the packages of the extra `local`, are missing.
    """
    if importlib.util.find_spec("hdrh") is None or importlib.util.find_spec("psutil") is None:
        raise ConfigurationError("The stress harness needs more packages: pip install 'agent-pipeline[local]'")
    home = bundled("stress")
    found = importlib.util.spec_from_file_location(
        "stress", home / "__init__.py", submodule_search_locations=[str(home)]
    )
    if found is None or found.loader is None:
        raise ConfigurationError(f"The stress harness is not where it should be: {home}")
    package = importlib.util.module_from_spec(found)
    sys.modules["stress"] = package
    found.loader.exec_module(package)
