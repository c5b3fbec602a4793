"""The variables that the settings are read from."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor.finding import Finding, fine, warning
from pipeline.doctor.site import Site
from pipeline.spelling import unknown_variables


def are_settings(_site: Site) -> Iterator[Finding]:
    """Whether all that have the prefix are settings."""
    unknown = unknown_variables()
    for name, nearest in unknown.items():
        remedy = f"set {nearest} instead, if that is meant" if nearest else "take it away, or see the README's table"
        yield warning(f"{name} is no setting, and ignored", remedy)
    if not unknown:
        yield fine("all are known")
