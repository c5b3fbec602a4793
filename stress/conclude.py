"""From what a run measured to its report: the ledger is asked, the history examined, thresholds judged."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pipeline import Client
from pipeline.errors import RateLimited
from pipeline.store import invariants
from pipeline.store.database import Database
from stress import evidence, integrity
from stress.evidence import Evidence
from stress.latency import Spread
from stress.load.asking import SUBMITTERS
from stress.plan import Closed
from stress.probe import Series
from stress.report.figures import REPLACED, Memory, Mistake, Producer, Report, Requests
from stress.report.series import series
from stress.report.single import single_figures
from stress.run import Run
from stress.target import machine
from stress.thresholds import Threshold, Verdict, thresholds
from stress.trend import slope

#: What every run has to do and to leave behind, whatever its other thresholds.
ALWAYS = thresholds(
    "requests > 0",
    "lost = 0",
    "unfinished = 0",
    "doubled = 0",
    "reordered = 0",
    "contradicted = 0",
    "unheard = 0",
    "repeated = 0",
    "invariants_broken = 0",
)

#: The producer is the limit from this share of a core on, and where it sends late by this share of the mean latency.
BUSY, LATE = 0.85, 0.1

#: Below this share of a core, a producer that is late was kept from running.
IDLE = 0.5

#: Seconds for Postgres to answer again after whatever was done to it.
PATIENCE = 60.0

#: Settings that are addresses, or may hold secrets.
PRIVATE = {"database_url", "broker_url", "providers"}


def conclude(run: Run) -> Report:
    """The report of a run that is over."""
    settings = run.target.settings
    database = Database(settings.database, size=1)
    try:
        with Client(settings) as client:
            known = database.patiently(lambda: evidence.gather(database, run.name), seconds=PATIENCE)
            found = integrity.examine(
                database,
                run.name,
                run.recorder.heard,
                lambda *who: client.history(*who, include_archived=True),
                unsure=run.recorder.unsure,
                repeated=run.recorder.repeated,
            )
        broken = invariants.check(database, max_delay=settings.retry_max_delay)
    finally:
        database.close()
    report = _report(run, known, found, [str(violation) for violation in broken])
    return replace(report, verdicts=judge(report, (*run.plan.thresholds, *ALWAYS)))


def judge(report: Report, required: Iterable[Threshold]) -> list[Verdict]:
    """Each threshold against the report's figures."""
    figures = single_figures(report)
    return [threshold.judge(figures, unmeasured=_why_not(report, threshold.figure)) for threshold in required]


def _why_not(report: Report, figure: str) -> str:
    """What kept that figure from being measured, where it is known."""
    replaced = report.memory is not None and report.memory.replaced
    return REPLACED if replaced and (figure.startswith("memory_") or figure == "breaker_trips") else ""


def _report(run: Run, known: Evidence, found: integrity.Integrity, broken: list[str]) -> Report:
    recorder = run.recorder
    corrected, correction = _corrected(run)
    duration = max(recorder.last_end - run.start, 1e-9) if recorder.total else 0.0
    depth = [value for _, value in run.queue.series.seen("waiting")]
    running = [value for _, value in run.queue.series.seen("running")]
    return Report(
        name=run.plan.name,
        began=run.began.isoformat(timespec="seconds"),
        duration=duration,
        machine=machine(),
        plan=_described(run),
        settings=run.target.settings.model_dump(mode="json", exclude=PRIVATE),
        requests=_requests(run, duration),
        latency=recorder.latencies.spread(),
        corrected=corrected,
        correction=correction,
        accepting=recorder.accepting.spread(),
        queue_wait=known.queue_wait,
        run_time=known.run_time,
        attempts=known.attempts,
        retries=known.retries,
        retry_success=known.retried_answered / known.retried if known.retried else None,
        republished=known.republished,
        errors=_mistakes(run, known),
        depth_max=max(depth, default=None),
        running_max=max(running, default=None),
        memory=_memory(run),
        cpu={part: _spent(run.cpu.series, part) for part in run.cpu.series.values},
        producer=_producer(run, duration),
        breaker_trips=None if run.sizes.replaced else _grown(run.trips),
        rate_limit_hits=_rate_limited(run),
        integrity=found,
        invariants=broken,
        series=series(run),
        faults=run.faults,
        grids=run.grids,
        more=run.more,
    )


def _described(run: Run) -> dict[str, Any]:
    """Of a pipeline that ran already, only what this run knows of it."""
    described = run.plan.described()
    if run.stopping.is_set():
        described["load"] += f"; stopped after {run.end - run.start:.0f} s"
    if run.target.stack is None:
        described["workers"] = len(run.target.workers() or ()) or "unseen"
    if run.target.simulator_url is None:
        described["provider"] = "as it was: not set by this run"
    return described


def _requests(run: Run, duration: float) -> Requests:
    recorder = run.recorder
    return Requests(
        total=recorder.total,
        succeeded=recorder.succeeded,
        failed=recorder.total - recorder.succeeded,
        outcomes=dict(recorder.outcomes),
        per_second=recorder.succeeded / duration if duration else 0.0,
    )


def _corrected(run: Run) -> tuple[Spread | None, str]:
    load, latencies = run.plan.load, run.recorder.latencies
    if not isinstance(load, Closed):
        return latencies.spread(), "measured from the moment when each request was due"
    if not load.wait or (load.requests * load.batches == 1 and not load.duration):
        return latencies.spread(), "none is needed: no request waited for another's answer"
    interval = load.delay + latencies.median
    return latencies.corrected(interval).spread(), (
        f"a user's expected interval is delay + median = {interval:.3f} s; a latency above it stands also for the "
        "requests that the user would have sent meanwhile"
    )


def _mistakes(run: Run, known: Evidence) -> list[Mistake]:
    """What callers were told, and how attempts failed (retried ones included)."""
    epoch = run.began.timestamp() - run.began_at
    told = [
        Mistake("caller", what, seen.count, seen.first - run.start, seen.last - run.start)
        for what, seen in sorted(run.recorder.errors.items())
    ]
    start = epoch + run.start
    tried = [
        Mistake("attempt", f"{each.reason}, {each.outcome}", each.count, each.first - start, each.last - start)
        for each in known.failures
    ]
    return [*told, *tried]


def _memory(run: Run) -> Memory | None:
    seen = run.memory.series.seen("memory")
    if not seen:
        return None
    replaced = run.sizes.replaced
    marks = run.batch_memory
    whole = [mark for mark in marks if mark is not None]
    batches = [after - before for before, after in itertools.pairwise(whole)]
    return Memory(
        start=seen[0][1],
        peak=max(value for _, value in seen),
        end=seen[-1][1],
        batches=batches if len(whole) == len(marks) and len(batches) > 1 and not replaced else (),
        slope=None if replaced else slope([(at - run.start, value) for at, value in seen if at >= run.start]),
        replaced=replaced,
    )


def _spent(series: Series, part: str) -> float | None:
    """Seconds between the first look and the last."""
    seen = [value for _, value in series.seen(part)]
    return seen[-1] - seen[0] if len(seen) > 1 else None


def _producer(run: Run, duration: float) -> Producer:
    spent = [_spent(run.cpu.series, name) for name in run.producer_names]
    known = [seconds / duration for seconds in spent if seconds is not None and duration]
    cpu, lag, latency = max(known, default=None), run.recorder.lags.spread(), run.recorder.latencies.spread()
    limit = None
    if cpu is not None and cpu >= BUSY:
        limit = f"its busiest process used {cpu:.0%} of a core: take more --processes, or another machine"
    elif lag is not None and latency is not None and lag.mean >= LATE * latency.mean:
        limit = f"it sent {lag.mean:.3f} s late on average: {_cure(run, lag, cpu)}"
    return Producer(run.plan.processes, cpu, lag, limit)


def _cure(run: Run, lag: Spread, cpu: float | None) -> str:
    """Of a producer that sent late."""
    waits = run.recorder.waits.spread()
    if waits is not None and waits.mean >= lag.mean / 2:
        return f"the {SUBMITTERS} threads of a process that submit were all taken: take more --processes"
    return "take more --processes" if cpu is None or cpu >= IDLE else "the machine was too busy for it"


def _grown(counts: tuple[float | None, float | None]) -> float | None:
    """None also where it shrank: a process that is not seen from here was replaced, and took with it what it had
    counted. One that was killed has left it to nobody."""
    before, after = counts
    return after - before if before is not None and after is not None and after >= before else None


def _rate_limited(run: Run) -> float:
    """It is the callers who are refused, and so it is they who know."""
    return sum(seen.count for error, seen in run.recorder.errors.items() if error.split()[0] == RateLimited.__name__)
