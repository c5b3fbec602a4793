"""Which requests are meant: the options that several commands share."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

#: Seconds of the units in which an age may be written.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment_of(text: str) -> datetime:
    """An ISO time, in UTC unless it says otherwise; or an age, as `90m`, before now. Raises typer.BadParameter."""
    try:
        if aged := re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip()):
            return datetime.now(UTC) - timedelta(seconds=int(aged[1]) * UNITS[aged[2]])
        given = datetime.fromisoformat(text.strip())
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; write 2026-01-31T14:00, or an age: 90m, 2h, 3d") from None
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is before the year 1, or past 9999; write a time nearer to now") from None


def finite(number: float | None) -> float | None:
    """That number, of an option. Raises typer.BadParameter for one that is none, or has no end."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no number to go by; write one like 0.5 or 20")
    return number


#: More than any list has; more than this Postgres would not take.
MOST = 2**31 - 1

Limit = Annotated[int, typer.Option(help="At most so many.", min=1, max=MOST)]
User = Annotated[str | None, typer.Option(help="Only this user's.")]
Reason = Annotated[str | None, typer.Option(help="Only what ended so: http_503, agent_error …")]
Provider = Annotated[str | None, typer.Option(help="Only what called this provider.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=moment_of, metavar="TIME", help="Only what was accepted from then on: a time, or an age (90m, 2h, 3d)."
    ),
]
Until = Annotated[
    datetime | None, typer.Option(parser=moment_of, metavar="TIME", help="Only what was accepted before then.")
]
