"""What Ctrl-C and SIGTERM do to a run: the first has it come to its end and report, the second ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: The exit code of who was ended by Ctrl-C, in shells.
INTERRUPTED = 130

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """While the block runs, either signal raises KeyboardInterrupt in it."""
    with _handled(_end):
        yield


def until_signalled(main: Callable[[], int]) -> int:
    """What `main` returns, or INTERRUPTED where a signal ended it: what it has started, it stops all the same."""
    try:
        with ending_on_signals():
            return main()
    except KeyboardInterrupt:
        return INTERRUPTED


#: What the first Ctrl-C of a load is answered with.
DRAINING = "Sending nothing new, waiting for what is under way; a second Ctrl-C does not wait"


@contextmanager
def stopping_on_signals(say: Callable[[str], None], what: str = DRAINING) -> Iterator[threading.Event]:
    """While the block runs, the first signal sets the event and says `what`; the next raises KeyboardInterrupt."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            _end(number, frame)
        stopping.set()
        say(what)

    with _handled(stop):
        yield stopping


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
