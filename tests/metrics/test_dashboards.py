"""The dashboards' files are such as Grafana takes, and where it looks; what they ask is tried in test_prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, zip_longest
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml  # type: ignore[import-untyped]  # ships no types
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards import DASHBOARDS, FOLDER, dashboard

FILES = sorted(FOLDER.glob("*.json"))

ROOT = FOLDER.parents[2]

#: Where Grafana's image looks for what it is provisioned with.
PROVISIONING = PurePosixPath("/etc/grafana/provisioning")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_have_ids_and_places_of_their_own_and_each_asks_something(file: Path) -> None:
    made = json.loads(file.read_text())
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert not [(a["title"], b["title"]) for a, b in combinations(panels, 2) if overlap(a["gridPos"], b["gridPos"])]
    variables = {variable["name"] for variable in made["templating"]["list"]}
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        if panel["type"] != "row":
            assert panel["targets"]
            assert panel["datasource"]["uid"] == "$datasource"
        assert panel.get("repeat") in {None, *variables}


def test_the_files_are_what_the_lists_make() -> None:
    assert [file.stem for file in FILES] == sorted(DASHBOARDS)
    for file in FILES:
        assert json.loads(file.read_text()) == dashboard(file.stem, *DASHBOARDS[file.stem])


# -- the schema -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    register_default_plugins()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_of_a_dashboard_is_unknown_to_grafanas_schema(file: Path) -> None:
    assert not list(unknown(json.loads(file.read_text())))


def test_what_grafanas_schema_does_not_know_is_found() -> None:
    made = dashboard("overview", *DASHBOARDS["overview"])
    panel = next(panel for panel in made["panels"] if panel["type"] == "timeseries")
    panel["fieldConfig"]["defaults"]["unti"] = "s"
    panel["options"]["legends"] = {}
    panel["targets"][0]["exprs"] = "1"
    assert {where.rpartition("/")[2] for where in unknown(made)} == {"unti", "legends", "exprs"}


def unknown(made: dict[str, Any]) -> Iterator[str]:
    """What is not there any more, or is another, after the schema's own classes have read and written it."""
    return changes(made, json.loads(JSONEncoder().encode(Dashboard.from_json(made))))


def changes(before: Any, after: Any, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from changes(value, after.get(key), f"{where}/{key}")
    elif isinstance(before, list) and isinstance(after, list):
        for number, (one, other) in enumerate(zip_longest(before, after)):
            yield from changes(one, other, f"{where}/{number}")
    elif before != after:
        yield where


# -- the provisioning -------------------------------------------------------------------------------------------------


def test_grafana_finds_the_dashboards_and_prometheus_where_compose_puts_them() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    binds = [volume.split(":") for volume in services["grafana"]["volumes"] if volume.startswith("./")]
    mounts = {PurePosixPath(bind[1]): ROOT / bind[0] for bind in binds}
    assert all(bind[2] == "ro" for bind in binds)

    (dashboards,) = (mounts[PROVISIONING] / "dashboards").glob("*.yml")
    (provider,) = yaml.safe_load(dashboards.read_text())["providers"]
    assert provider["type"] == "file"
    assert sorted(mounts[PurePosixPath(provider["options"]["path"])].glob("*.json")) == FILES

    (datasources,) = (mounts[PROVISIONING] / "datasources").glob("*.yml")
    (source,) = yaml.safe_load(datasources.read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    url = urlsplit(source["url"])
    assert services[url.hostname]["ports"][0].endswith(f":{url.port}")
    config = next(value for value in services[url.hostname]["command"] if value.startswith("--config.file="))
    (mount,) = (volume.split(":")[:2] for volume in services[url.hostname]["volumes"] if volume.startswith("./"))
    file = ROOT / mount[0] / PurePosixPath(config.partition("=")[2]).relative_to(mount[1])
    assert yaml.safe_load(file.read_text())["rule_files"] == ["alerts.yml"]
    assert (file.parent / "alerts.yml").exists()


def overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    across = a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
    down = a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    return bool(across and down)
