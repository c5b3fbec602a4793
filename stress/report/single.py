"""The figures that are one number each: what thresholds and comparisons name."""

from __future__ import annotations

from dataclasses import asdict

from stress.latency import Spread
from stress.report.figures import Report

#: Of a spread, what has a name of its own.
OF_SPREAD = ("min", "mean", "p50", "p95", "p99", "max")

#: Every name, those of processor times aside, which are `cpu_` and a part's name.
NAMES = frozenset(
    """requests succeeded failed cancelled success_rate error_rate per_second duration retries retry_success
    attempts_mean republished memory_start memory_peak memory_end memory_growth memory_acceleration memory_slope
    memory_slope_low memory_slope_high depth_max running_max breaker_trips rate_limit_hits producer_cpu lag_p99 lost
    unfinished doubled reordered contradicted unheard repeated invariants_broken""".split()  # noqa: SIM905 - a list of names, to be read
) | {f"{prefix}{name}" for prefix in ("", "corrected_", "accepting_", "queue_", "run_") for name in OF_SPREAD}


def is_figure(name: str) -> bool:
    """Whether a report has a figure of that name."""
    return name in NAMES or name.startswith("cpu_")


def single_figures(report: Report) -> dict[str, float | None]:
    """All of them, by name; None where it was not measured."""
    requests, memory, integrity = report.requests, report.memory, report.integrity
    slope = memory.slope if memory else None
    success = requests.success_rate
    return {
        "requests": requests.total,
        "succeeded": requests.succeeded,
        "failed": requests.failed,
        "cancelled": requests.outcomes.get("cancelled", 0),
        "success_rate": success,
        "error_rate": None if success is None else 1 - success,
        "per_second": requests.per_second,
        "duration": report.duration,
        **_spread("", report.latency),
        **_spread("corrected_", report.corrected),
        **_spread("accepting_", report.accepting),
        **_spread("queue_", report.queue_wait),
        **_spread("run_", report.run_time),
        **_retries(report),
        "memory_start": memory.start if memory else None,
        "memory_peak": memory.peak if memory else None,
        "memory_end": memory.end if memory else None,
        "memory_growth": memory.growth if memory else None,
        "memory_acceleration": memory.acceleration if memory else None,
        "memory_slope": slope.slope if slope else None,
        "memory_slope_low": slope.low if slope else None,
        "memory_slope_high": slope.high if slope else None,
        "depth_max": report.depth_max,
        "running_max": report.running_max,
        "breaker_trips": report.breaker_trips,
        "rate_limit_hits": report.rate_limit_hits,
        "producer_cpu": report.producer.cpu,
        "lag_p99": report.producer.lag.p99 if report.producer.lag else None,
        **{f"cpu_{part}": seconds for part, seconds in report.cpu.items()},
        **{name: finding["count"] for name, finding in asdict(integrity).items()},
        "invariants_broken": len(report.invariants),
    }


def _spread(prefix: str, spread: Spread | None) -> dict[str, float | None]:
    return {f"{prefix}{name}": getattr(spread, name, None) for name in OF_SPREAD}


def _retries(report: Report) -> dict[str, float | None]:
    tried = sum(number * count for number, count in report.attempts.items())
    requests = sum(report.attempts.values())
    return {
        "retries": sum(report.retries.values()),
        "retry_success": report.retry_success,
        "republished": report.republished,
        "attempts_mean": tried / requests if requests else None,
    }
