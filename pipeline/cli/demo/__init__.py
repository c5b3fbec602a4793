"""`pipeline demo`: what the pipeline is about, shown in a minute on a stack of its own."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.demo.limits import LIMIT, WINDOW
from pipeline.cli.demo.screen import Screen
from pipeline.cli.exits import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from pipeline.local.stack import LocalStack

#: So that the delays are the full ones that the rules name, and can be read on the screen; and that nobody has to wait
#: for a breaker as long as a real provider needs.
SETTINGS = {
    "CITE_AGENT_RETRY_JITTER": "false",
    "CITE_AGENT_BREAKER_OPEN_SECONDS": "4",
    "CITE_AGENT_BREAKER_RAMP_SECONDS": "1",
    # and that a conversation need not be long to be too long
    "CITE_AGENT_MAX_MESSAGES_IN_MEMORY": str(LIMIT),
    "CITE_AGENT_RECENT_CONTEXT_WINDOW": str(WINDOW),
    "CITE_AGENT_SUMMARY_BY": "extractive",
}

PREMISE = (
    "What a user says becomes a request: a row in Postgres, which is the truth, and a Celery task that carries its id "
    "to a worker. It ends in exactly one recorded answer, or one recorded failure."
)

Keep = Annotated[bool, typer.Option("--keep", help="Leave the stack up, with its addresses, until Ctrl-C.")]


def demo(*, keep: Keep = False) -> None:
    """See it work: a conversation, providers that fail, a worker that is killed, an archive.

    Starts Postgres, Valkey, simulated providers and two workers in a temporary
    folder, and stops them at the end. Takes a minute, and no setting of yours is
    used. Exits 1 when an invariant is broken.

    Example: pipeline demo --keep
    """
    screen = Screen()
    screen.title("Requests to language-model agents, answered once, whatever dies")
    screen.text(PREMISE)
    # here, so that something is on the screen before they are loaded
    from pipeline.cli.demo.alone import alone
    from pipeline.local.stack import LocalStack, Parts
    from pipeline.providers.simulator import Simulator

    with alone() as folder, Simulator() as standby:
        providers = [{"name": "standby", "base_url": standby.url, "model": "simulated"}]
        parts = Parts(workers=2, exporter=False)
        stack = LocalStack(folder / "data", parts, environment=SETTINGS, report=screen.report, standby=providers)
        _interrupt_on_signals()
        try:
            held = _play(stack, screen, standby.url)
            if keep:
                _keep(stack, screen)
        except KeyboardInterrupt:
            screen.note("Interrupted")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            screen.quiet()
            stack.stop()
    if not held:
        raise typer.Exit(FAILED)


def _play(stack: LocalStack, screen: Screen, standby: str) -> bool:
    """Start what answers, tell the story. Returns whether every invariant held."""
    with screen.waiting("Starting Postgres, Valkey, simulated providers and two workers …"):
        stack.start_serving()
    from pipeline.cli.demo.archiving import Archiving
    from pipeline.cli.demo.report import print_report
    from pipeline.cli.demo.story import Story

    screen.note("The stack is up")
    with Story(stack, screen, standby) as story:
        story.tell()
        Archiving(stack, screen, story.client, story.database, story.provider).tell()
        return print_report(screen, story.database, story.requests)


def _keep(stack: LocalStack, screen: Screen) -> None:
    from pipeline.cli.demo.report import print_addresses

    with screen.waiting("Starting beat, Flower and a worker for upkeep …"):
        stack.start_operating()
    print_addresses(screen, stack)
    try:
        stack.wait()
    except KeyboardInterrupt:
        screen.note("Stopping")


def _interrupt_on_signals() -> None:
    """End in order on whatever asks for an end; what is in the way of it is not asked twice."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        signal.signal(number, interrupt)
