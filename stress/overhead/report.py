"""Medians, ratios and bars, as text of at most 80 columns and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

from stress.overhead.load import Load
from stress.overhead.measure import PARTS, Round

Pair = tuple[Round, Round]  #: pipeline, bare

#: The pipeline's requests per second over bare Celery's, at least, by users.
RATIO_BARS = {100: 0.9, 500: 1.0}

#: The pipeline's own time at so many users, at most, in milliseconds.
OWN_USERS, OWN_P50, OWN_P99 = 10, 10.0, 25.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise, and whether it was kept."""

    text: str
    passed: bool

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.text}"


def median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    return statistics.median(value(each) for each in rounds)


def ratios(pairs: Sequence[Pair]) -> list[float]:
    """Of requests per second, a pair each."""
    return [ours.per_second / bare.per_second for ours, bare in pairs]


def bars(results: dict[Load, list[Pair]]) -> list[Bar]:
    """Those that the measured loads can answer."""
    found = []
    for load, pairs in results.items():
        if (least := RATIO_BARS.get(load.users)) is not None:
            ratio = statistics.median(ratios(pairs))
            found.append(Bar(f"ratio at {load.users} users {ratio:.2f}, at least {least:.2f}", ratio >= least))
        if load.users == OWN_USERS:
            ours = [pair[0] for pair in pairs]
            p50, p99 = median(ours, lambda r: r.own_p50), median(ours, lambda r: r.own_p99)
            found.append(Bar(f"own time p50 {p50:.1f} ms, at most {OWN_P50:.0f} ms ({load})", p50 <= OWN_P50))
            found.append(Bar(f"own time p99 {p99:.1f} ms, at most {OWN_P99:.0f} ms ({load})", p99 <= OWN_P99))
    return found


def table(results: dict[Load, list[Pair]]) -> str:
    """A block for each load, a line for each side (medians), and the pairs' ratio."""
    return "\n\n".join("\n".join(_block(load, pairs)) for load, pairs in results.items())


def _block(load: Load, pairs: list[Pair]) -> list[str]:
    head = f"{'':9}{'req/s':>6}{'p50':>6}{'p95':>6}{'p99':>6}"
    head += "".join(f" {part}" for part in PARTS) + f"{'sum':>6}{'MB':>5}"
    found = sorted(ratios(pairs))
    own = [(median(side, lambda r: r.own_p50), median(side, lambda r: r.own_p99)) for side in zip(*pairs, strict=True)]
    return [
        f"{load}, {len(pairs)} pair(s); latency in ms, CPU ms a request",
        head,
        *(_line(side) for side in zip(*pairs, strict=True)),
        f"ratio {statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})",
        "own time p50/p99 in ms: "
        + ", ".join(f"{name} {p50:.1f}/{p99:.1f}" for name, (p50, p99) in zip(("ours", "bare"), own, strict=True)),
    ]


def _median_cpu(side: Sequence[Round], part: str) -> float:
    return median(side, lambda each: each.cpu[part])


def _line(side: Sequence[Round]) -> str:
    cells = [f"{side[0].side:9}{median(side, lambda r: r.per_second):6.0f}"]
    cells += [f"{median(side, attrgetter(name)):6.0f}" for name in ("p50", "p95", "p99")]
    cells += [f"{_median_cpu(side, part):{len(part) + 1}.2f}" for part in PARTS]
    cells += [f"{median(side, lambda r: r.cpu_total):6.2f}{median(side, lambda r: r.megabytes):5.0f}"]
    return "".join(cells)


def as_json(results: dict[Load, list[Pair]], facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, round by round."""
    return {
        **facts,
        "loads": [
            {
                "users": load.users,
                "requests": load.requests,
                "apart": load.apart,
                "ratios": ratios(pairs),
                "pairs": [{side.side: asdict(side) for side in pair} for pair in pairs],
            }
            for load, pairs in results.items()
        ],
        "bars": [asdict(bar) for bar in bars(results)],
    }
