"""Commands that are listed without being imported, and errors that end as one line and an exit code."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.cli.exits import FAILED, MISUSED
from pipeline.errors import (
    ConfigurationError,
    InvalidRequest,
    PipelineError,
    ReceiptNotFound,
    RequestNotFound,
    SessionNotFound,
)

#: What the caller can set right, by asking otherwise or by other settings.
MISUSE = (ConfigurationError, InvalidRequest, ReceiptNotFound, RequestNotFound, SessionNotFound)


Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Listed:
    """A command as the help shows it. `home` is `module:name` of its function, or of the Typer app of its group."""

    name: str
    home: str
    summary: str


class Commands(TyperGroup):
    """A group of `listed` commands; `--help` imports none of them."""

    listed: ClassVar[tuple[Listed, ...]] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for one in self.listed:
            self.add_command(TyperCommand(one.name, help=one.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, itself."""
        name, found, rest = super().resolve_command(ctx, args)
        by_name = {one.name: one for one in self.listed}
        return name, found and _load(by_name[str(found.name)]), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as fault:
            typer.echo(f"pipeline: {fault}", err=True)
            raise typer.Exit(MISUSED if isinstance(fault, MISUSE) else FAILED) from None


class Group(typer.Typer):
    """A command of several others, all of whose text is UTF-8."""

    def command(self, *given: Any, **options: Any) -> Callable[[Function], Function]:
        register = super().command(*given, **options)

        def registered(function: Function) -> Function:
            register(_in_utf8(function))
            return function

        return registered


def _in_utf8(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command, which refuses text that a shell passed on in another encoding: Postgres could not take it."""

    @functools.wraps(function)
    def checked(**given: Any) -> Any:
        for name, value in given.items():
            for text in value if isinstance(value, list) else [value]:
                _assert_utf8(name, text)
        return function(**given)

    return checked


def _assert_utf8(name: str, value: object) -> None:
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(name, f"{value!r} is not UTF-8; write it in UTF-8") from None


def group(what: str, *, example: str) -> typer.Typer:
    """A command of several others. Completion is installed by the first command alone."""
    return Group(no_args_is_help=True, add_completion=False, help=f"{what}\n\nExample: {example}")


def _load(listed: Listed) -> Any:
    from pipeline import logs

    # what a command has to say it says itself, and its errors are one line
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)  # the handler's, for psycopg's loggers set their own
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(name)s: %(message)s")
    logs.configure("console")
    module, _, name = listed.home.partition(":")
    found = getattr(importlib.import_module(module), name)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(listed.name)(_in_utf8(found))
    return typer.main.get_command(app)
