"""Agents that tests' workers run. What they are to do stands in the request's metadata."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from pipeline import Reply, Turn, agent


@agent("wait")
def wait(turn: Turn) -> str:
    """Wait `seconds`, then answer with the text."""
    turn.wait(float(turn.metadata.get("seconds", 0)))
    return f"answer to {turn.text}"


@agent("gate")
def gate(turn: Turn) -> str:
    """Answer as soon as the file `gate` exists."""
    while not Path(turn.metadata["gate"]).exists():
        turn.wait(0.05)
    return f"answer to {turn.text}"


@agent("stuck_at_first")
def stuck_at_first(turn: Turn) -> str:
    """Wait for ever, but in the second attempt answer."""
    while turn.attempt == 1:
        turn.wait(60)
    return f"answer to {turn.text}"


@agent("stubborn")
def stubborn(turn: Turn) -> str:
    """Do not answer before the file `gate` exists, nor listen to anybody; but in the second attempt answer at once."""
    while turn.attempt == 1 and not Path(turn.metadata["gate"]).exists():
        time.sleep(0.02)
    return f"attempt {turn.attempt}"


@agent("watchful")
def watchful(turn: Turn) -> str:
    """Work without waiting, and leave a file at `gate` when told to stop."""
    while not turn.cancelled:
        time.sleep(0.01)
    Path(turn.metadata["gate"]).touch()
    return "too late"


@agent("words")
def words(turn: Turn) -> str:
    """Say `count` words, one each `seconds`."""
    said = [f"{turn.attempt}.{number} " for number in range(int(turn.metadata["count"]))]
    for word in said:
        turn.stream(word)
        turn.wait(float(turn.metadata["seconds"]))
    return "".join(said)


@agent("words_up_to_the_gate")
def words_up_to_the_gate(turn: Turn) -> str:
    """Say `count` words, one each `seconds`, the last one as soon as the file `gate` exists."""
    *first, last = [f"{turn.attempt}.{number} " for number in range(int(turn.metadata["count"]))]
    for word in first:
        turn.stream(word)
        turn.wait(float(turn.metadata["seconds"]))
    while not Path(turn.metadata["gate"]).exists():
        turn.wait(0.05)
    turn.stream(last)
    return "".join([*first, last])


@agent("deadly")
def deadly(turn: Turn) -> str:
    """Kill the worker."""
    os.kill(os.getpid(), signal.SIGKILL)
    return turn.text


@agent("raises")
def raises(turn: Turn) -> str:
    """Fail."""
    raise ValueError(f"the agent's own mistake with {turn.text}")


@agent("exits")
def exits(turn: Turn) -> str:
    """Try to end the process."""
    raise SystemExit(turn.text)


@agent("cancels_itself")
def cancels_itself(turn: Turn) -> str:
    """Raise what ends an asyncio task."""
    raise asyncio.CancelledError


@agent("is_interrupted")
def is_interrupted(turn: Turn) -> str:
    """Raise what ends a program at its terminal."""
    raise KeyboardInterrupt


@agent("raises_several")
def raises_several(turn: Turn) -> str:
    """Raise what a group of tasks may."""
    raise BaseExceptionGroup("several", [SystemExit(1), ValueError()])


@agent("mute")
def mute(turn: Turn) -> str:
    """Return what is no answer."""
    return None  # type: ignore[return-value]  # which is the point


@agent("nul")
def nul(turn: Turn) -> str:
    """Answer with a character that Postgres cannot keep."""
    return "a\0b"


@agent("dawdles")
def dawdles(turn: Turn) -> str:
    """Work for `seconds` without listening to anybody, then call the model."""
    time.sleep(float(turn.metadata["seconds"]))
    return turn.call().text


@agent("calls_twice")
def calls_twice(turn: Turn) -> Reply:
    """Ask the model two times, one after the other."""
    turn.call(stream=False)
    return turn.call()


@agent("speaks_first")
def speaks_first(turn: Turn) -> str:
    """Say something, then what the model says."""
    turn.stream("Let me see. ")
    return f"Let me see. {turn.call().text}"
