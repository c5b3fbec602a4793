"""The command line: `pipeline …`. One file a command group; each is imported when it is called."""

from __future__ import annotations

import typer

from pipeline.cli.commands import Commands, Listed

#: Every command, in the order of the help: where it lives and what it is for.
COMMANDS = (
    Listed("demo", "pipeline.cli.demo:demo", "See it work: a conversation, failing calls, a killed worker."),
    Listed("up", "pipeline.cli.up:up", "Run a whole pipeline on this machine until Ctrl-C."),
    Listed("ask", "pipeline.cli.ask:ask", "Hand a message over and print the answer as it comes."),
    Listed("requests", "pipeline.cli.requests:requests", "What was asked: list, show, cancel, retry."),
    Listed("sessions", "pipeline.cli.sessions:sessions", "Conversations: list, show, archive, restore, export, erase."),
    Listed("archive", "pipeline.cli.archive:archive", "The archives of all conversations: sweep, verify."),
    Listed("providers", "pipeline.cli.providers:providers", "The providers and their breakers: list, reset."),
    Listed("status", "pipeline.cli.status:status", "How it stands: workers, queues, providers, what takes long."),
    Listed("doctor", "pipeline.cli.doctor:doctor", "What is wrong with this installation, and what to do."),
    Listed("db", "pipeline.cli.db:db", "The database's tables: upgrade, check."),
    Listed("exporter", "pipeline.cli.exporter:exporter", "Serve what the whole fleet is doing, for Prometheus."),
    Listed("stress", "pipeline.cli.stress:stress", "Push load through a pipeline, and check what it did."),
    Listed("simulate", "pipeline.cli.simulate:simulate", "Serve a simulated provider until Ctrl-C."),
)


class Pipeline(Commands):
    """The commands of this file."""

    listed = COMMANDS


main = typer.Typer(name="pipeline", cls=Pipeline, no_args_is_help=True, pretty_exceptions_enable=False)


@main.callback()
def _pipeline() -> None:
    """Run language-model agents' requests on Celery: accepted once, answered once.

    Example: pipeline demo
    """
