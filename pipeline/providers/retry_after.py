"""How long a provider asks us to stay away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Seconds that are waited at most, whatever was asked for: a day is the longest period of any provider's limits. What
#: is longer is a mistake, such as the time itself where seconds are meant, and would close the provider for years.
LONGEST = 86_400.0


def seconds_asked(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds that `retry-after-ms` or `Retry-After` asks for, a day at most; None where neither says anything
    sensible.

    A date is read against the response's own `Date`, so that clocks need not agree, or else against `now`.
    """
    seconds = _asked(headers, now)
    return None if seconds is None else min(seconds, LONGEST)


def _asked(headers: Mapping[str, str], now: datetime | None) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after")
    seconds = _number(asked)
    if seconds is not None:
        return seconds
    until = _date(asked)
    if until is None:
        return None
    since = _date(headers.get("date")) or now or datetime.now(UTC)
    return max(0.0, (until - since).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):  # the latter for a zone, or an hour, of twenty digits
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
