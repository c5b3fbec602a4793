"""The limits of the call that the current thread is in, looked at while it waits for the network."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pipeline.providers.contract import CallControl

#: Longest wait, in seconds, without a look at whether the call was interrupted. Closing a socket does not wake a
#: thread that waits for it, so the waiting thread itself has to look.
SLICE = 0.2


class Watch:
    """One call's control and the moment, in seconds of `time.monotonic`, that ends its present stage."""

    def __init__(self, control: CallControl, limit: float) -> None:
        self.control = control
        self.limit = limit

    def check(self, expires: float) -> float:
        """The seconds left until `expires` or the limit. Raises TimeoutError or AttemptInterrupted."""
        self.control.check()
        left = min(expires, self.limit) - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def wait(self, fd: int, events: int, expires: float) -> None:
        """Wait until the file is ready. Raises TimeoutError or AttemptInterrupted."""
        poller = select.poll()
        poller.register(fd, events)
        while not poller.poll(min(self.check(expires), SLICE) * 1000):
            pass

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Tighten the limit for a while."""
        before = self.limit
        self.limit = min(before, time.monotonic() + seconds)
        try:
            yield
        finally:
            self.limit = before


#: Connections are pooled and serve one call after another, so the call is found by the thread that is in it.
_current: ContextVar[Watch] = ContextVar("watch")


def current() -> Watch:
    """The watch of the call that this thread is in. Raises LookupError outside of one."""
    return _current.get()


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Make `watch` that of the current thread."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)
