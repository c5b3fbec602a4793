"""Where the files beside the package are: in a checkout at its top, in a wheel under `pipeline/bundled`."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """The path of `celeryconfig.py`, `migrations` or `stress`, wherever this package was installed."""
    in_wheel = PACKAGE / "bundled" / name
    return in_wheel if in_wheel.exists() else PACKAGE.parent / name
