"""What must hold after a run: a figure, a relation and a limit, as `p95 < 2 s`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}

#: What a unit stands for, in the unit of the figures: seconds, bytes, shares of one.
UNITS = {"": 1.0, "%": 0.01, "s": 1.0, "ms": 1e-3, "min": 60.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}

_FORM = re.compile(r"\s*([a-z]\w*)\s*(<=|>=|<|>|=)\s*(-?[\d.]+)\s*([A-Za-z%]*)\s*")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A threshold and what was measured; None was not measured, and holds nothing. `why` it was not, where known."""

    text: str
    measured: float | None
    passed: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One figure's limit."""

    figure: str
    relation: str
    limit: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `FIGURE RELATION NUMBER [UNIT]`. Raises ValueError that says what is wrong with it."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"threshold {text!r}: is not like 'p95 < 2 s'")
        figure, relation, number, unit = found.groups()
        if unit not in UNITS:
            raise ValueError(f"threshold {text!r}: unit {unit!r} is none of {', '.join(filter(None, UNITS))}")
        try:
            return cls(figure, relation, round(float(number) * UNITS[unit], 12), " ".join(text.split()))
        except ValueError:
            raise ValueError(f"threshold {text!r}: {number!r} is no number") from None

    def judge(self, figures: Mapping[str, float | None], *, unmeasured: str = "") -> Verdict:
        """Whether it held. A figure that the report lacks was not measured; `unmeasured` says why, if so."""
        measured = figures.get(self.figure)
        if measured is None:
            return Verdict(self.text, None, passed=False, why=unmeasured)
        return Verdict(self.text, measured, RELATIONS[self.relation](measured, self.limit))


def thresholds(*texts: str) -> tuple[Threshold, ...]:
    """Several of them."""
    return tuple(map(Threshold.parse, texts))
