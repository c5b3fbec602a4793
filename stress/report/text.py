"""A report as text of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from stress.latency import Spread
from stress.report.figures import REPLACED, Grid, Mistake, Report
from stress.thresholds import Verdict

WIDTH = 80

#: Columns of a line's name.
NAME = 17

#: Errors that are listed; the JSON has all of them.
MOST_ERRORS = 12


def text(report: Report) -> str:
    """The verdict first, then what was run, then what was measured."""
    return "\n".join((*_verdict(report), "", *_what(report), "", *_figures(report), *_rest(report)))


def _verdict(report: Report) -> Iterator[str]:
    yield f"{report.name}: {'PASSED' if report.passed else 'FAILED'}"
    yield from (f"  {line(verdict)}" for verdict in report.verdicts)
    if report.producer.limit:
        yield from _wrapped("  The producer was the limit, not the pipeline", report.producer.limit)


def line(verdict: Verdict) -> str:
    """One threshold, and what was measured."""
    return f"{'pass' if verdict.passed else 'FAIL'}  {verdict.text:<30} {measured(verdict)}"


def measured(verdict: Verdict) -> str:
    """What it was, in its threshold's unit, or why it is not known."""
    if verdict.measured is None:
        return f"not measured: {verdict.why}" if verdict.why else "not measured"
    return shown(verdict.text, verdict.measured)


def shown(threshold: str, value: float) -> str:
    """A figure in the unit that its threshold speaks in."""
    last = threshold.rpartition(" ")[2]
    match last:
        case "%":
            return f"{value:.2%}"
        case "s" | "ms":
            return duration(value)
        case "MB" | "kB" | "GB":
            return megabytes(value)
        case _:
            return f"{value:.6g}"


def _what(report: Report) -> Iterator[str]:
    yield from _wrapped("load", str(report.plan["load"]))
    yield from _wrapped("provider", str(report.plan["provider"]))
    yield from _wrapped("machine", f"{report.machine}; {report.plan['workers']} workers")
    changed = report.plan["set"]
    if changed:
        yield from _wrapped("set", ", ".join(f"{name}={value}" for name, value in changed.items()))
    yield from _wrapped("began", f"{report.began}, took {duration(report.duration)}")


def _figures(report: Report) -> Iterator[str]:
    requests = report.requests
    rate = "-" if requests.success_rate is None else f"{requests.success_rate:.2%}"
    yield from _wrapped(
        "requests",
        f"{requests.total}: {requests.succeeded} succeeded, {requests.failed} failed; success rate {rate}; "
        f"{requests.per_second:.1f} answers/s",
    )
    yield f"{'':{NAME}}" + "".join(f"{head:>9}" for head in ("min", "mean", "p50", "p95", "p99", "max"))
    yield _spread("latency", report.latency)
    yield _spread("  corrected", report.corrected)
    yield _spread("  to accept", report.accepting)
    yield _spread("  in the queue", report.queue_wait)
    yield _spread("  running", report.run_time)
    yield from _wrapped("  correction", report.correction)
    for name, what in facts(report):
        yield from _wrapped(name, what)


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """What is no spread, by name."""
    yield "attempts", _counts({f"{number}": count for number, count in report.attempts.items()}, "x")
    yield "retries", _counts(report.retries) + _retry_success(report)
    yield "republished", _republished(report)
    yield "queue depth", f"most {_count(report.depth_max)} waiting, {_count(report.running_max)} running"
    yield "memory", _memory(report)
    yield "cpu", _cpu(report)
    yield "producer", _producer(report)
    yield "breaker trips", _trips(report)
    yield "rate-limit hits", _count(report.rate_limit_hits)


def _rest(report: Report) -> Iterator[str]:
    yield from _errors(report)
    if report.invariants:
        yield "\nbroken invariants"
        for broken in report.invariants:
            yield from _wrapped("", broken)
    for grid in report.grids:
        yield f"\n{grid.title}"
        yield from table(grid)


def _errors(report: Report) -> Iterator[str]:
    if not report.errors:
        return
    yield "\nerrors" + f"{'count':>{WIDTH - 26}}{'first':>10}{'last':>10}"
    for each in report.errors[:MOST_ERRORS]:
        yield _mistake(each)
    if len(report.errors) > MOST_ERRORS:
        yield f"  and {len(report.errors) - MOST_ERRORS} more kinds"


def _mistake(each: Mistake) -> str:
    what = f"  {each.where}: {each.what}"
    return f"{what:<{WIDTH - 29}.{WIDTH - 29}} {each.count:>8}{duration(each.first):>10}{duration(each.last):>10}"


def table(grid: Grid) -> Iterator[str]:
    """A grid's lines, its columns as wide as what they hold."""
    rows = [list(map(str, grid.columns)), *([cell(each) for each in row] for row in grid.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{each:<{width}}" for each, width in zip(row, widths, strict=True)).rstrip()


def cell(value: str | float | None) -> str:
    """A dash for what was not measured."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.6g}"


def _wrapped(name: str, what: str) -> Iterator[str]:
    first, rest = f"{name:<{NAME}}", " " * NAME
    if len(name) >= NAME:
        first, rest = f"{name}: ", "    "
    yield from textwrap.wrap(what, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _spread(name: str, spread: Spread | None) -> str:
    if spread is None:
        return f"{name:<{NAME}}not measured"
    values = (spread.min, spread.mean, spread.p50, spread.p95, spread.p99, spread.max)
    return f"{name:<{NAME}}" + "".join(f"{duration(value):>9}" for value in values)


def _counts(counts: Mapping[str, int], sign: str = "") -> str:
    return ", ".join(f"{name}{sign}: {count}" for name, count in counts.items()) or "none"


def _retry_success(report: Report) -> str:
    return "" if report.retry_success is None else f"; {report.retry_success:.1%} of those retried were answered"


def _republished(report: Report) -> str:
    return f"{report.republished} messages beyond one for each attempt" if report.republished else "none"


def _memory(report: Report) -> str:
    memory = report.memory
    if memory is None:
        return "not measured"
    growth = f"not measured: {REPLACED}" if memory.growth is None else megabytes(memory.growth)
    said = (
        f"start {megabytes(memory.start)}, peak {megabytes(memory.peak)}, end {megabytes(memory.end)}, growth {growth}"
    )
    if memory.batches:
        said += f"; by batch {', '.join(f'{size / 1e6:+.1f}' for size in memory.batches)} MB"
    if memory.slope:
        hourly = [f"{value * 3600 / 1e6:+.1f}" for value in (memory.slope.slope, memory.slope.low, memory.slope.high)]
        said += f"; slope from {memory.slope.since:.0f} s on {hourly[0]} MB/h, 95 % between {hourly[1]} and {hourly[2]}"
    return said


def _cpu(report: Report) -> str:
    total = report.requests.total
    spent = {part: seconds for part, seconds in report.cpu.items() if seconds is not None}
    if not spent or not total:
        return "not measured"
    return "ms a request: " + ", ".join(f"{part} {seconds / total * 1e3:.1f}" for part, seconds in spent.items())


def _producer(report: Report) -> str:
    made = report.producer
    cpu = "processor time not measured" if made.cpu is None else f"{made.cpu:.0%} of a core at the busiest"
    late = "" if made.lag is None else f"; sent {duration(made.lag.mean)} late on average"
    return f"{made.processes} process(es), {cpu}{late}; {'WAS THE LIMIT' if made.limit else 'was not the limit'}"


def _trips(report: Report) -> str:
    if report.breaker_trips is None and report.memory and report.memory.replaced:
        return f"not measured: {REPLACED}"
    return _count(report.breaker_trips)


def _count(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0f}"


def duration(value: float) -> str:
    """In the unit that reads best."""
    if abs(value) < 1:
        return f"{value * 1e3:.0f} ms" if abs(value) >= 0.01 else f"{value * 1e3:.1f} ms"
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def megabytes(value: float) -> str:
    """In millions of bytes."""
    return f"{value / 1e6:.1f} MB"
