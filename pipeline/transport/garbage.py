"""What becomes of a message that nobody can read: it is dropped, logged without its content, and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Called with the queue and the reason for each message that is thrown away. They must not raise.
on_garbage: list[Callable[[str, str], None]] = []


def report(queue: str, why: str) -> None:
    """Log that a message of `queue` was dropped, and tell who asked to hear of it. `why` must not quote it."""
    logger.error("dropped an unreadable message from queue %s: %s", queue, why)
    for heard in on_garbage:
        heard(queue, why)
