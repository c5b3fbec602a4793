"""The configured providers, by name."""

from __future__ import annotations

from pipeline.errors import ConfigurationError
from pipeline.providers.contract import Provider
from pipeline.settings import Settings


class Providers:
    """The providers of a process. Each is one client, shared by all threads."""

    def __init__(self, settings: Settings) -> None:
        self._by_name = _clients(settings) if settings.configured_providers else {}

    @property
    def names(self) -> list[str]:
        """In the order of the settings."""
        return list(self._by_name)

    def all(self) -> list[Provider]:
        """Every provider, in the order of the settings."""
        return list(self._by_name.values())

    def get(self, name: str) -> Provider:
        """The provider of this name. Raises ConfigurationError."""
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name) or "none"
            raise ConfigurationError(f"There is no provider {name!r}; configured: {known}") from None

    def close(self) -> None:
        """Let go of every provider's connections."""
        for provider in self._by_name.values():
            provider.close()


def _clients(settings: Settings) -> dict[str, Provider]:
    # where there is no provider nobody waits for the SDK: it is a third of what a worker's start costs
    from pipeline.providers.openai_compatible import OpenAICompatible

    return {one.name: OpenAICompatible(one, settings) for one in settings.configured_providers}
