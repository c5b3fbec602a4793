"""Agents: the code that turns a request and its context into an answer, found by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pipeline.errors import ConfigurationError
from pipeline.schemas import Reply

if TYPE_CHECKING:
    from pipeline.turn import Turn

#: An agent returns its answer's text, or a model's reply, whose text is the answer.
AgentFunction: TypeAlias = "Callable[[Turn], str | Reply]"

#: Where `@agent` leaves a function's name and system prompt, for the registry to find.
_MARK = "__pipeline_agent__"


@dataclass(frozen=True, slots=True)
class Agent:
    """A named function, and the system prompt that its context begins with."""

    name: str
    answer: AgentFunction
    system: str | None = None


def agent(name: str, *, system: str | None = None) -> Callable[[AgentFunction], AgentFunction]:
    """Make a function the agent `name`. Its module is to be named in `CITE_AGENT_AGENTS`.

    The function is given the `Turn` and returns the answer. It may be run again when a worker is lost, so what it
    does outside of the turn should bear that. What it raises ends the request as `agent_error`, but for a
    provider's failure, which is retried by the rules.
    """

    def mark(function: AgentFunction) -> AgentFunction:
        setattr(function, _MARK, Agent(name, function, system))
        return function

    return mark


@agent("chat")
def chat(turn: Turn) -> Reply:
    """The built-in agent: one call of the model with the context and the user's message."""
    return turn.call()


def load(paths: Iterable[str]) -> dict[str, Agent]:
    """The built-in agents and those of the modules at `paths`, by name.

    Raises ConfigurationError for a module that cannot be imported, holds no agent, or takes a name twice.
    """
    found = {"chat": _marked(chat)}
    for path in paths:
        for one in _agents_of(path):
            if one.name in found:
                raise ConfigurationError(f"CITE_AGENT_AGENTS: {path} takes the name {one.name!r} a second time")
            found[one.name] = one
    return found


def _agents_of(path: str) -> list[Agent]:
    try:
        module = importlib.import_module(path)
    except ImportError as fault:
        raise ConfigurationError(f"CITE_AGENT_AGENTS: {path} cannot be imported: {fault}") from fault
    agents = [_marked(value) for value in vars(module).values() if callable(value) and hasattr(value, _MARK)]
    if not agents:
        raise ConfigurationError(f"CITE_AGENT_AGENTS: {path} holds no function decorated with @agent")
    return agents


def _marked(function: AgentFunction) -> Agent:
    marked = getattr(function, _MARK)
    assert isinstance(marked, Agent)  # noqa: S101 - set by `agent` alone
    return marked
