"""Which requests are meant: the options that several commands share."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

#: Seconds of the units in which an age may be written.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment_of(text: str) -> datetime:
    """An ISO time, in UTC unless it says otherwise; or an age, as `90m`, before now. Raises typer.BadParameter."""
    if aged := re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip()):
        return datetime.now(UTC) - timedelta(seconds=int(aged[1]) * UNITS[aged[2]])
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; write 2026-01-31T14:00, or an age: 90m, 2h, 3d") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


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
