from __future__ import annotations

from tests.faults.conftest import make_fleet, pytest_runtest_makereport, simulator, wiretap

__all__ = ["make_fleet", "pytest_runtest_makereport", "simulator", "wiretap"]
