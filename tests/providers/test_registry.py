from __future__ import annotations

import pytest

from pipeline.errors import ConfigurationError
from pipeline.providers.registry import Providers
from pipeline.settings import ProviderSettings, Settings


def configured(*names: str) -> Settings:
    return Settings(
        providers=[ProviderSettings(name=name, base_url="http://127.0.0.1:1/v1", model="m") for name in names]
    )


def test_providers_keep_the_order_of_the_settings_and_each_is_found_by_name() -> None:
    providers = Providers(configured("one", "two"))
    assert providers.names == ["one", "two"]
    assert [one.name for one in providers.all()] == ["one", "two"]
    assert providers.get("two") is providers.get("two")
    providers.close()


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'three'.*one, two"):
        Providers(configured("one", "two")).get("three")
