"""What is asked of a pipeline that runs already: options that fit, URLs that can be read, servers that answer."""

from __future__ import annotations

import argparse
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import redis

from pipeline.consistency import check_url
from pipeline.errors import ConfigurationError

#: Seconds for a server to take a connection, and to answer, where its URL does not say.
PATIENCE = 3

#: What is raised where none answers, or something else does.
AWAY = (psycopg.OperationalError, redis.RedisError, OSError, http.client.HTTPException)

#: By option, the schemes of the URLs that are read by HTTP.
SCHEMES = {"simulator_url": ("http",), "metrics_url": ("http", "https")}


def is_attached(options: argparse.Namespace) -> bool:
    """Whether a pipeline is named, so that none is to be started."""
    return bool(options.attach) or options.database_url is not None or options.broker_url is not None


def check(options: argparse.Namespace) -> None:
    """Raises ValueError that names the option which would have no effect, or has no URL. Never says a password."""
    attached = is_attached(options)
    for name in ("set", "workers"):
        if attached and getattr(options, name):
            raise ValueError(f"--{name}: is for the stack that is started without a URL; one that runs stays as it is")
    for name in ("database_url", "broker_url"):
        if (url := getattr(options, name)) is not None:
            check_url(name, url, called=_option(name))
    for name, given in (("simulator_url", [options.simulator_url]), ("metrics_url", options.metrics_url)):
        for url in given:
            if url is not None and not attached:
                raise ValueError(f"{_option(name)}: is for a pipeline that runs; name it by --attach or its URLs")
            if url is not None:
                _check_web(name, url)


def _check_web(name: str, url: str) -> None:
    if "@" in url:
        raise ValueError(f"{_option(name)}: holds a user or a password; give the URL without")
    try:
        parts = urlsplit(url)
        readable = parts.scheme in SCHEMES[name] and parts.hostname and parts.port != 0
    except ValueError:  # of a port that is none
        readable = False
    if not readable:
        raise ValueError(f"{_option(name)}: {url!r} is no URL like http://127.0.0.1:9000")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@contextmanager
def reaching(what: str, place: str, option: str) -> Iterator[None]:
    """Raises ConfigurationError where `what` is not at the `place` that `option` could change."""
    try:
        yield
    except AWAY as fault:
        why = " ".join(str(fault).split()) or type(fault).__name__
        raise ConfigurationError(f"{what} at {place} does not answer ({why}); start it, or give {option}") from fault
