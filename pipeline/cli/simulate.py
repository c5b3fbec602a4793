"""`pipeline simulate`: a provider that is not one, for trying things out and for tests."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from pipeline.errors import ConfigurationError
from pipeline.providers.simulator import Behaviour, Fault, Fixed, Lognormal, serve

Port = Annotated[int, typer.Option(help="Loopback port; a free one when 0.", min=0, max=65535)]
Seed = Annotated[int, typer.Option(help="Seed of latencies, faults and answers.")]
Median = Annotated[float, typer.Option(help="Median seconds until the first token.", min=0)]
P99 = Annotated[
    float | None,
    typer.Option(help="Seconds within which 99 of 100 begin; all take the median when not given.", min=0),
]
Pace = Annotated[float | None, typer.Option(help="Pace of the text; all at once when not given.")]
Faults = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND=SHARE", help="A fault by chance, of a SHARE from 0 to 1; may be repeated."),
]
Next = Annotated[
    list[str] | None, typer.Option("--next", metavar="KIND", help="The next answer, or fault; may be repeated.")
]


def simulate(
    *,
    port: Port = 0,
    seed: Seed = 1,
    median: Median = 0,
    p99: P99 = None,
    tokens_per_second: Pace = None,
    rate: Faults = None,
    then: Next = None,
) -> None:
    """Serve a simulated provider until Ctrl-C, and print its base URL.

    A KIND is one of ok, 429, 500, 502, 503, 504, 400, 401, context_too_long,
    rate_limit, budget, hang, reset, cut, cut_reset, unfinished, empty, malformed,
    error_event, nul, tool_calls.

    POST and GET /_simulator/behaviour change and show what it does, GET
    /_simulator/counts shows what it did, DELETE on either resets.

    Example: pipeline simulate --median 0.25 --p99 1 --rate 503=0.02 --next 429
    """
    try:
        behaviour = Behaviour(
            seed=seed,
            latency=Lognormal(median=median, p99=max(p99, median)) if p99 and median else Fixed(seconds=median),
            tokens_per_second=tokens_per_second,
            rates=tuple(_rate(given) for given in rate or ()),
            sequence=tuple(Fault.model_validate(kind) for kind in then or ()),
        )
        with contextlib.suppress(KeyboardInterrupt):
            serve(behaviour, port=port, announce=typer.echo)
    except (ValueError, ConfigurationError) as wrong:
        raise typer.BadParameter(str(wrong)) from wrong


def _rate(given: str) -> Fault:
    kind, _, share = given.partition("=")
    return Fault.model_validate({"kind": kind, "rate": share})
