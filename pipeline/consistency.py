"""What settings must be together: each may be right by itself, and wrong beside another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pipeline.rate import Rate

if TYPE_CHECKING:
    from pipeline.settings import Settings

#: Schemes that `DATABASE_URL` and `BROKER_URL` may have.
DATABASE_SCHEMES = ("postgresql://", "postgres://")
BROKER_SCHEMES = ("redis://", "rediss://", "unix://")

#: Those of `COLD_STORAGE_URL`, which may also be a folder's path.
STORAGE_SCHEMES = ("file", "s3", "gs", "az")

#: Connections that a process may have to hold at once.
LEAST_CONNECTIONS = 2


def checked_rate(given: str) -> str:
    """The rate as it was given. Raises ValueError for what is none."""
    Rate.parse(given)
    return given


def check(settings: Settings) -> None:
    """Raises ValueError that names the variable, for what contradicts itself or another setting."""
    if settings.heartbeat * 2 > settings.lease:
        raise ValueError(
            f"CITE_AGENT_HEARTBEAT: heartbeat ({settings.heartbeat:g} s) must be at most half of "
            f"lease ({settings.lease:g} s), or one late heartbeat loses every running request"
        )
    if settings.database_pool_size < LEAST_CONNECTIONS:
        raise ValueError(
            f"CITE_AGENT_DATABASE_POOL_SIZE: {settings.database_pool_size} must be at least {LEAST_CONNECTIONS}: "
            "recovery holds one connection while it looks, and helps by another"
        )
    for name, url in (("database_url", settings.database_url), ("broker_url", settings.broker_url)):
        if url is not None:
            check_url(name, url.get_secret_value(), called=f"CITE_AGENT_{name.upper()}")
    _check_time_outs(settings)
    _check_archiving(settings)
    _check_storage(settings.cold_storage_url)
    names = [provider.name for provider in settings.providers]
    if len(names) != len(set(names)):
        raise ValueError(f"CITE_AGENT_PROVIDERS: each needs a name of its own, got {names}")
    for provider in settings.providers:
        if provider.daily_budget is not None and not (provider.input_price or provider.output_price):
            raise ValueError(
                f"CITE_AGENT_PROVIDERS: daily_budget of {provider.name!r} is never spent without prices; give "
                "input_price and output_price, or leave the budget out"
            )


def check_url(name: str, url: str, *, called: str) -> None:
    """Raises ValueError for what cannot be a `database_url` or a `broker_url`.

    Its message begins with what the URL is `called` where it was given, and never quotes it: it may hold a password.
    """
    of_database = name == "database_url"
    _check_scheme(called, url, DATABASE_SCHEMES if of_database else BROKER_SCHEMES)
    _check_readable(called, url, _ports_of_database if of_database else _ports_of_broker)


def _check_time_outs(settings: Settings) -> None:
    granted = min(("provider_first_token_timeout", "provider_timeout"), key=lambda name: float(getattr(settings, name)))
    needed = getattr(settings, granted)
    for name, seconds in (("run_timeout", settings.run_timeout), ("deadline", settings.deadline)):
        if seconds < needed:
            raise ValueError(
                f"CITE_AGENT_{name.upper()}: {name} ({seconds:g} s) must be at least {granted} ({needed:g} s), or a "
                f"provider that hangs is never held to be at fault: raise it, or lower CITE_AGENT_{granted.upper()}"
            )


def _check_archiving(settings: Settings) -> None:
    window, most = settings.recent_context_window, settings.max_messages_in_memory
    if window >= most:
        raise ValueError(
            f"CITE_AGENT_RECENT_CONTEXT_WINDOW: {window} messages that stay hot must be fewer than "
            f"max_messages_in_memory ({most}), or archiving frees no room"
        )
    if settings.archive_threshold < window:
        raise ValueError(
            f"CITE_AGENT_ARCHIVE_THRESHOLD: {settings.archive_threshold} must be at least "
            f"recent_context_window ({window}), which stays hot"
        )
    if settings.archive_hours > settings.session_idle_days * 24:
        raise ValueError(
            f"CITE_AGENT_ARCHIVE_HOURS: {settings.archive_hours:g} must be at most session_idle_days "
            f"({settings.session_idle_days:g} days), after which all is archived anyway"
        )


def _check_storage(url: str) -> None:
    scheme, separator, rest = url.partition("://")
    if not url.strip() or (separator and scheme not in STORAGE_SCHEMES):
        raise ValueError(
            f"CITE_AGENT_COLD_STORAGE_URL: {scheme!r} is not one of {', '.join(STORAGE_SCHEMES)}; give one, or a folder"
        )
    if "@" in rest.partition("/")[0]:
        raise ValueError("CITE_AGENT_COLD_STORAGE_URL: holds credentials; give them as the service's own variables")


def _check_scheme(called: str, url: str, schemes: tuple[str, ...]) -> None:
    if not url.startswith(schemes):
        scheme, colon, _ = url.partition("://")
        found = f"scheme {scheme!r}" if colon and scheme.isalnum() else "what it begins with"
        raise ValueError(f"{called}: {found} is not one of {', '.join(schemes)}")


def _check_readable(called: str, url: str, ports: Callable[[str], Iterable[str]]) -> None:
    """In the words of the drivers, and where a host is shown, a password that is not encoded is quoted: it is read as
    a port, or as a part of the host."""
    try:
        readable = all(port.isdecimal() for port in ports(url))
    except ValueError:
        readable = False
    if not readable:
        raise ValueError(
            f"{called}: cannot be read; what is special in user and password is to be "
            "percent-encoded (/ as %2F, @ as %40, % as %25), and options need values of their kind"
        )


def _ports_of_database(url: str) -> list[str]:
    """Those that it names, of each host. Raises ValueError for what Postgres's library does not read."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError from None
    if "@" in str(parts.get("host", "")).partition("/")[0]:  # a folder of sockets may have one in its name
        raise ValueError
    return [port for port in str(parts.get("port", "")).split(",") if port]


def _ports_of_broker(url: str) -> list[str]:
    """Likewise, for redis-py."""
    from redis.connection import parse_url

    port = parse_url(url).get("port")  # type: ignore[no-untyped-call]  # redis-py left it so
    return [] if port is None else [str(port)]
