from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from pipeline.providers.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def http(simulator: Simulator) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=simulator.origin) as client:
        yield client
