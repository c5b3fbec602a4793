"""Named as an agents' module, this makes its worker lose every retry that Celery publishes."""

from __future__ import annotations

import logging
from typing import Any

from pipeline import Turn, agent
from pipeline.transport.broker import Channel

logger = logging.getLogger(__name__)

_put = Channel._put


def _lose_retries(self: Channel, queue: str, message: dict[str, Any], **options: Any) -> None:
    if message["headers"].get("retries"):
        logger.warning("lost a retry")
    else:
        _put(self, queue, message, **options)


Channel._put = _lose_retries


@agent("lossy")
def lossy(turn: Turn) -> str:
    """The module must hold an agent."""
    return turn.text
