"""Who else could reach what is not theirs."""

from __future__ import annotations

import ipaddress
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlsplit

from pipeline.doctor.finding import Finding, fine, warning, wrong
from pipeline.doctor.site import Site

#: Pages of Flower that show or steer something. Its API has a lock of its own.
PROTECTED = ("/", "/workers", "/api/workers")

#: Seconds for each of them.
PATIENCE = 3.0

ALWAYS_OPEN = "its /metrics and /healthcheck are always open"


def flower_wants_a_login(site: Site) -> Iterator[Finding]:
    """Whether a stranger may look at Flower, and steer workers by it."""
    url = site.flower_url
    if url is None:
        yield fine("none is known here; name it with --flower URL")
        return
    if urlsplit(url).scheme not in ("http", "https"):
        yield wrong(f"--flower: {url!r} is no http:// or https:// URL", "give one")
        return
    try:
        opened = [path for path in PROTECTED if _status(url.rstrip("/") + path) == HTTPStatus.OK]
    except OSError as away:
        yield warning(f"{url} does not answer ({type(away).__name__})", "start it, or name another with --flower URL")
        return
    if opened:
        what = f"{url}: {', '.join(opened)} can be opened without a login; whoever comes there steers the workers"
        yield wrong(what, "set FLOWER_BASIC_AUTH=user:password, or one of its OAuth logins")
    elif _is_loopback(urlsplit(url).hostname or ""):
        yield fine(f"wants a login; {ALWAYS_OPEN}, here to this machine alone")
    else:
        yield warning(f"wants a login, but {ALWAYS_OPEN}", "keep its port off public networks, or behind a proxy")


def local_stack_is_private(site: Site) -> Iterator[Finding]:
    """Whether the programs of a local stack listen on this machine's loopback alone."""
    if site.stack is None:
        yield fine("no local stack runs here")
        return
    try:
        import psutil
    except ModuleNotFoundError:
        yield warning("not looked at: psutil is not installed", "install agent-pipeline[local]")
        return
    leader = psutil.Process(site.stack.pid)
    open_to_others = [
        f"{one.name()} on {socket.laddr.ip}:{socket.laddr.port}"
        for one in (leader, *leader.children(recursive=True))
        for socket in one.net_connections("inet")
        if socket.status == psutil.CONN_LISTEN and not _is_loopback(socket.laddr.ip)
    ]
    for what in open_to_others:
        yield wrong(f"{what} can be reached from other machines", "bind it to 127.0.0.1")
    if not open_to_others:
        yield fine("the local stack can be reached from this machine alone")


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as reply:  # noqa: S310 - the scheme is looked at above
            return int(reply.status)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return refusal.code


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
