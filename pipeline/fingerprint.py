"""By which settings a process runs, told without telling them: a digest each, to be compared over the fleet."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipeline.settings import Settings

#: Those that may differ from one worker to the next.
OWN = frozenset(
    {"worker_slots", "database_pool_size", "log_format", "stop_timeout", "tracing", "metrics_host", "metrics_port"}
)

#: Hexadecimal digits of a digest: enough to differ, too few to be turned round.
DIGITS = 8


def fingerprint(settings: Settings) -> dict[str, str]:
    """A digest of each setting that all workers should share, by its name. Passwords and keys are no part of it."""
    shared = {name: getattr(settings, name) for name in type(settings).model_fields if name not in OWN}
    shared["database_url"], shared["broker_url"] = settings.database, settings.broker
    shared["providers"] = [one.model_dump(exclude={"api_key"}) for one in settings.configured_providers]
    return {name: _digest(value) for name, value in shared.items()}


def _digest(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        value = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if isinstance(value, frozenset):
        value = sorted(value)
    return hashlib.sha256(repr(value).encode()).hexdigest()[:DIGITS]
