"""Time-outs that make sense each by itself, and none together."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor.finding import Finding, fine, warning, wrong
from pipeline.doctor.site import Site

#: Each pair's first is to be at most its second; or what follows where it is not, and whether that is wrong.
PAIRS = (
    ("retry_initial_delay", "retry_max_delay", True, "every delay is the cap"),
    ("provider_timeout", "provider_timeout_max", True, "the first attempt's call is cut to the cap"),
    ("provider_timeout", "run_timeout", True, "an attempt is over before its call is: no call ever times out"),
    ("recovery_interval", "lease", True, "a dead worker's requests wait for longer than its lease"),
    ("provider_connect_timeout", "provider_timeout", False, "a call is over before it is connected"),
    ("provider_first_token_timeout", "provider_timeout", False, "the limit for the first token is never reached"),
    ("provider_timeout_max", "run_timeout", False, "the calls of later attempts are cut by the attempt's limit"),
    ("run_timeout", "deadline", False, "a request that names no deadline expires within its first attempt"),
    ("retry_max_delay", "deadline", False, "a long delay ends at the deadline"),
    ("broker_timeout", "lease", False, "a frozen broker holds a worker up for longer than its lease"),
)


def fit_together(site: Site) -> Iterator[Finding]:
    """Whether each limit leaves room for those within it."""
    settings = site.settings
    amiss = 0
    for inner, outer, is_wrong, so in PAIRS:
        less, more = getattr(settings, inner), getattr(settings, outer)
        if less <= more:
            continue
        amiss += 1
        name, other = f"CITE_AGENT_{inner.upper()}", f"CITE_AGENT_{outer.upper()}"
        what = f"{name} ({less:g} s) is more than {other} ({more:g} s): {so}"
        yield (wrong if is_wrong else warning)(what, f"set {name} to at most {more:g}, or raise {other}")
    if not amiss:
        yield fine("each leaves room for those within it")
