"""A rate as people write it: `600/minute`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

#: Seconds.
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` in `seconds`."""

    limit: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError that says what is wrong."""
        matched = re.fullmatch(r"\s*([0-9]{1,12})\s*/\s*([a-z]+)\s*", text)
        if matched is None or matched[2] not in PERIODS or int(matched[1]) < 1:
            raise ValueError(f"{text!r} is no rate; write a whole number above 0 per {', '.join(PERIODS)}: 600/minute")
        return cls(int(matched[1]), PERIODS[matched[2]])

    def __str__(self) -> str:
        period = next(name for name, seconds in PERIODS.items() if seconds == self.seconds)
        return f"{self.limit}/{period}"
