"""The command line of the producer, and the plan that it asks for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline.client.submission import ON_BUSY
from pipeline.settings import Settings
from stress import attaching
from stress.plan import Closed, Load, Open, Plan, Stage
from stress.report.single import NAMES, is_figure
from stress.scenarios import SCENARIOS
from stress.thresholds import Threshold

DESCRIPTION = """\
Push real requests through the pipeline, watch it, and check that nothing was
lost, doubled or reordered. Without a URL it starts a stack of its own in a
temporary folder: servers, two workers, and a simulated provider.

Example: pipeline stress --users 50 --requests 3 --report report.html
Example: pipeline stress --scenario rapid_fire
Example: pipeline stress --rate 5..100:30s --rate 100:60s --require "p95 < 2 s"
Example: pipeline stress compare before.json after.json
Example: pipeline stress chaos --faults all --minutes 20
"""

EPILOGUE = "Exit codes: 0 all held, 1 something did not, 2 wrong arguments."

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}

#: The least that an option's number may be: below it, nothing would be sent, or nobody would answer.
LEAST = {
    **dict.fromkeys(("users", "requests", "conversations", "batches", "workers"), 1),
    **dict.fromkeys(("processes", "delay", "median", "p99"), 0),
}


def seconds(given: str) -> float:
    """Of `0`, `90`, `90s`, `10m` or `1h`."""
    number = given.rstrip("smihn")
    try:
        made = float(number) * _SECONDS[given[len(number) :]]
    except (ValueError, KeyError):
        made = math.nan
    if not 0 <= made < math.inf:
        raise argparse.ArgumentTypeError(f"{given!r} is no duration like 90, 90s, 10m or 1h")
    return made


def lasting(given: str) -> float:
    """Likewise, of more than 0 seconds."""
    made = seconds(given)
    if not made:
        raise argparse.ArgumentTypeError(f"{given!r}: a duration is above 0 s")
    return made


def stage(given: str) -> Stage:
    """Of `RATE`, `FROM..TO`, either with `:DURATION`."""
    rates, _, length = given.partition(":")
    start, _, end = rates.partition("..")
    try:
        made = Stage(lasting(length) if length else 0, float(start), float(end or start))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!r} is no rate like 50, 50:60s or 5..50:30s") from None
    if not (made.start >= 0 and made.end >= 0 and 0 < made.start + made.end < math.inf):
        raise argparse.ArgumentTypeError(f"{given!r}: a rate is a number above 0")
    return made


def threshold(given: str) -> Threshold:
    """Of `FIGURE RELATION NUMBER [UNIT]`, where the figure is one that a report has."""
    try:
        made = Threshold.parse(given)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None
    if not is_figure(made.figure):
        raise argparse.ArgumentTypeError(f"{made.figure!r} is no figure; there are {', '.join(sorted(NAMES))}")
    return made


def share(given: str) -> float:
    """Of `0.02` or `2%`."""
    try:
        made = float(given.removesuffix("%")) / (100 if given.endswith("%") else 1)
    except ValueError:
        made = -1.0
    if not 0 <= made <= 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no share like 0.02 or 2%")
    return made


def parse(given: list[str] | None, prog: str) -> tuple[Plan, argparse.Namespace]:
    """The plan, and where to find the pipeline and put the results. Exits with 2 where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog,
        usage=f"{prog} [options]",
        description=DESCRIPTION,
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _of_load(parser)
    _of_system(parser)
    _of_results(parser)
    options = parser.parse_args(given)
    refuse_unwritable(parser, options)
    try:
        return plan_of(options), options
    except ValueError as wrong:
        parser.error(str(wrong))


def refuse_small(options: argparse.Namespace, least: Mapping[str, float]) -> None:
    """Raises ValueError that names the option whose number is less than that, or none that ends."""
    for name, fewest in least.items():
        given = getattr(options, name)
        if given is not None and not fewest <= given < math.inf:
            raise ValueError(f"--{name}: {given} is no number of at least {fewest}")


def refuse_unwritable(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with 2 where --output or --report cannot be written: now, not when the run is over."""
    for name in ("output", "report"):
        path: Path | None = getattr(options, name)
        if path is None:
            continue
        folder = path.absolute().parent
        if not folder.is_dir():
            parser.error(f"--{name} {path}: there is no folder {folder}; make it, or name another")
        if path.is_dir():
            parser.error(f"--{name} {path}: is a folder; name a file in it")
        why = _why_unwritable(path)
        if why:
            parser.error(f"--{name} {path}: cannot be written ({why}); name a file that can")


def _why_unwritable(path: Path) -> str:
    """What the system says to writing it; nothing where it can be. What it holds is kept until there is a result."""
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as fault:
        return fault.strerror or type(fault).__name__
    if not existed:
        path.unlink()
    return ""


def _of_load(parser: argparse.ArgumentParser) -> None:
    load = parser.add_argument_group("who sends when (closed model: users wait for their answers)")
    load.add_argument("--scenario", choices=sorted(SCENARIOS), metavar="NAME", help=f"one of {', '.join(SCENARIOS)}")
    load.add_argument("--users", type=int, help="users at the same time (10; 100 with --rate)")
    load.add_argument("--requests", type=int, help="requests of each user (5)")
    load.add_argument(
        "--delay",
        type=float,
        metavar="MS",
        help="milliseconds from an answer to the next request (100); with --no-wait, from one request to the next",
    )
    load.add_argument(
        "--duration",
        type=lasting,
        metavar="TIME",
        help="go on so long, in place of --requests: 90, in seconds, 10m, 1h",
    )
    load.add_argument("--conversations", type=int, help="conversations of each user, in turn (1)")
    load.add_argument("--no-wait", action="store_true", help="send a user's requests without waiting for answers")
    load.add_argument(
        "--on-busy",
        choices=ON_BUSY,
        help="what a message does that meets one without an answer: queue, reject, interrupt (queue)",
    )
    load.add_argument("--batches", type=int, help="do the whole so many times, one after the other (1)")
    load.add_argument("--spread", type=seconds, metavar="TIME", help="within which the users begin (0)")
    load.add_argument(
        "--rate", type=stage, action="append", metavar="RATE", help="open model: requests a second come whatever is "
        "answered; 50 (with --duration), 50:60s, or a ramp 5..50:30s; several follow each other",
    )  # fmt: skip
    load.add_argument("--processes", type=int, help="processes that send; 0: as many as it is likely to need (0)")
    load.add_argument("--patience", type=lasting, metavar="TIME", help="how long a caller waits for its answer (5m)")


def _of_system(parser: argparse.ArgumentParser) -> None:
    system = parser.add_argument_group("the system under load")
    system.add_argument("--workers", type=int, help="workers of the stack that is started (2)")
    system.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of that stack")
    system.add_argument("--agent", help="the agent that answers (chat)")
    system.add_argument("--median", type=float, help="the simulated provider's median latency, in seconds (0.25)")
    system.add_argument("--p99", type=float, help="its 99th percentile, in seconds (1.0)")
    system.add_argument("--faults", type=share, metavar="SHARE", help="of its calls, which fail: 2%% or 0.02 (2%%)")
    system.add_argument("--seed", type=int, help="of its latencies and faults (1)")
    system.add_argument("--attach", action="store_true", help="use the pipeline of the settings, or of `pipeline up`")
    system.add_argument("--database-url", help="attach to the pipeline with this database")
    system.add_argument("--broker-url", help="and this broker")
    system.add_argument("--simulator-url", help="of that pipeline: have its simulator here behave as above")
    system.add_argument(
        "--metrics-url", action="append", default=[], help="of that pipeline: where a process serves its metrics"
    )


def _of_results(parser: argparse.ArgumentParser) -> None:
    results = parser.add_argument_group("what comes of it")
    results.add_argument(
        "--require", type=threshold, action="append", metavar="THRESHOLD",
        help="what must hold, as 'p95 < 2 s' or 'success_rate > 99 %%'; adds to a scenario's own",
    )  # fmt: skip
    results.add_argument("--output", type=Path, metavar="FILE", help="write every figure to this JSON file")
    results.add_argument("--report", type=Path, metavar="FILE", help="write a page with charts to this HTML file")
    results.add_argument("--quiet", action="store_true", help="no live screen; the text at the end alone")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that was asked for: the scenario's, or the default, with what was said otherwise. Raises ValueError."""
    refuse_small(options, LEAST)
    attaching.check(options)
    base = SCENARIOS[options.scenario] if options.scenario else Plan("custom", Closed(), processes=0)
    changes = {name: getattr(options, name) for name in ("workers", "agent", "patience", "processes")}
    profile = {name: getattr(options, name) for name in ("median", "p99", "faults", "seed")}
    made = replace(
        base,
        load=_load(options, base.load),
        profile=replace(base.profile, **_said(profile)),
        thresholds=(*base.thresholds, *(options.require or ())),
        settings={**base.settings, **dict(map(setting, options.set))},
        **_said(changes),
    )
    return made if made == base or not options.scenario else replace(made, name=f"{base.name}, changed")


def _load(options: argparse.Namespace, base: Load) -> Load:
    if options.rate:
        return _open(options)
    assert isinstance(base, Closed)
    given = {
        name: getattr(options, name)
        for name in ("users", "requests", "duration", "conversations", "batches", "spread", "on_busy")
    }
    given["delay"] = None if options.delay is None else options.delay / 1e3
    given["wait"] = False if options.no_wait else None
    if options.no_wait and options.duration:
        raise ValueError("--no-wait sends so many --requests; for a --duration, take --rate")
    return replace(replace(base, duration=None) if options.requests else base, **_said(given))


def _open(options: argparse.Namespace) -> Open:
    if any(getattr(options, name) is not None for name in ("requests", "delay", "batches", "conversations", "spread")):
        raise ValueError("--rate: says when requests come; of the closed model's options it takes --users alone")
    stages = tuple(each if each.seconds else replace(each, seconds=options.duration or 0) for each in options.rate)
    if not all(each.seconds for each in stages):
        raise ValueError("--rate: for how long? Add --duration, or :SECONDS to the rate")
    made = Open(stages, users=options.users or 100, on_busy=options.on_busy or "queue")
    if made.total < 1:
        raise ValueError(f"--rate: {', '.join(map(str, stages))} makes no request; raise the rate, or go on for longer")
    return made


def _said(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def setting(given: str) -> tuple[str, str]:
    """Of `NAME=VALUE`. Raises ValueError for what is not, and for the name of no setting."""
    given_name, equals, value = given.partition("=")
    if not equals:
        raise ValueError(f"--set {given}: is not NAME=VALUE")
    name, known = given_name.upper().removeprefix("CITE_AGENT_"), sorted(map(str.upper, Settings.model_fields))
    if name not in known:
        nearest = get_close_matches(name, known, n=1)
        meant = f"; did you mean {nearest[0]}?" if nearest else "; the README has a table of them"
        raise ValueError(f"--set {given_name}: is no setting{meant}")
    return name, value
