"""`pipeline up`: the whole stack in the foreground."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.cli.commands import MISUSE
from pipeline.cli.exits import FAILED, MISUSED
from pipeline.errors import PipelineError
from pipeline.local import scraping
from pipeline.local.errors import StackInterrupted
from pipeline.local.stack import FLOWER_USER, LocalStack, Parts

#: Columns of the output where it does not go to a terminal.
PLAIN_WIDTH = 80

Data = Annotated[
    Path | None, typer.Option(help="Folder of its data, new or its own; ~/.cite_agent/data when not given.")
]
Workers = Annotated[int, typer.Option(min=1, help="Workers that answer requests.")]


def up(data: Data = None, workers: Workers = 2) -> None:
    """Run a whole pipeline on this machine until Ctrl-C.

    Starts Postgres and Valkey (unless their URLs are set), a simulated provider
    (unless providers are configured), workers, beat, Flower and the exporter.

    Example: pipeline up --data ./data
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, soft_wrap=True)
    try:
        stack = LocalStack(data, Parts(workers=workers), report=lambda line: _say(console, line))
        with _stopping_on_signals(stack), stack:
            _describe(console, stack)
            stack.wait()
            _say(console, "Stopping; a second Ctrl-C does not wait for what runs")
    except StackInterrupted:
        pass  # by a Ctrl-C before it was ready
    except PipelineError as fault:
        console.print(f"{fault}", style="red", markup=False, highlight=False)
        raise typer.Exit(MISUSED if isinstance(fault, MISUSE) else FAILED) from None
    _say(console, "Stopped; the next `pipeline up` finds the data")


@contextmanager
def _stopping_on_signals(stack: LocalStack) -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        stack.interrupt()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(console: Console, line: str) -> None:
    console.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False, highlight=False)


def _describe(console: Console, stack: LocalStack) -> None:
    """Where each part is. The servers' URLs may hold a password when they were set, so only embedded ones are shown."""
    rows = [(server.name.capitalize(), server.url) for server in stack.servers]
    if stack.simulator_url:
        rows.append(("Simulator", stack.simulator_url))
    rows += [(worker.name.capitalize(), f"process {worker.pid}") for worker in stack.workers]
    if stack.flower_url:
        rows.append(("Flower", f"{stack.flower_url}  user {FLOWER_USER}, password {stack.flower_password}"))
    if "exporter" in stack.metrics_ports:
        rows.append(("Metrics", f"prometheus --config.file={stack.data / scraping.CONFIG}"))
    rows.append(("Data", f"{stack.data} (logs in {stack.data / 'logs'})"))
    table = Table.grid(padding=(0, 2))
    for name, where in rows:
        table.add_row(name, where)
    if console.is_terminal:
        console.print(table)
    else:
        for name, where in rows:
            console.print(f"{name + ':':<11}{where}", markup=False, highlight=False)
    _say(console, "Ready. Ctrl-C stops all of it.")
