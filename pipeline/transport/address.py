"""The broker's URL, in the forms of those who read it: redis-py, Celery's settings, and people."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from redis.connection import UnixDomainSocketConnection, parse_url

from pipeline.errors import ConfigurationError


def connection_options(url: str) -> dict[str, Any]:
    """What redis-py's connections need to know. Raises ConfigurationError for a URL that is none."""
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py left it so
    except ValueError:  # not quoted: what is no port may be a part of the password
        raise ConfigurationError("CITE_AGENT_BROKER_URL: is no URL that redis-py reads") from None
    return {"db": 0} | options


def celery_settings(url: str) -> dict[str, str | None]:
    """`broker_url`, `broker_user` and `broker_password` for Celery.

    The credentials are kept apart because Celery hides its password setting where it shows a connection (to
    `celery inspect`, to Flower), but not what is within a URL.
    """
    options = connection_options(url)
    scheme, _, rest = url.partition("://")
    return {
        "broker_url": f"{scheme}://{rest.removeprefix(urlsplit(url).netloc.rpartition('@')[0]).removeprefix('@')}",
        "broker_user": options.get("username"),
        "broker_password": options.get("password"),
    }


def celery_broker_url(url: str) -> str:
    """`url` for Celery's `broker_url`, to be used with this package's transport: without credentials."""
    return str(celery_settings(url)["broker_url"])


def as_kombu_uri(url: str, user: str | None, password: str | None) -> str:
    """`url` as kombu writes it, which is what Flower's broker page can read."""
    options = connection_options(url)
    login = f"{quote(user or '', safe='')}:{quote(password, safe='*')}@" if password else ""
    if options.get("connection_class") is UnixDomainSocketConnection:
        return f"redis+socket://{login}{options['path']}?virtual_host={options['db']}"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{login}{host}/{options['db']}"
