"""Run language-model agents' requests on Celery: accepted once, answered once, whatever dies.

from pipeline import Client
answer = Client().submit("What did I cite?", user_id="ada", conversation_id="thesis").result(timeout=60)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.agents import agent
    from pipeline.client import Client, Handle
    from pipeline.errors import (
        AttemptInterrupted,
        ClientClosed,
        ClientForked,
        ConfigurationError,
        IdempotencyConflict,
        InvalidRequest,
        LedgerUnavailable,
        PipelineError,
        ProviderError,
        QueueFull,
        RateLimited,
        ReceiptNotFound,
        ReplayRefused,
        RequestCancelled,
        RequestEnded,
        RequestExpired,
        RequestFailed,
        RequestNotFound,
        SessionBusy,
        WaitTimeout,
    )
    from pipeline.schemas import Answer, Message, Receipt, Reply, Status, Usage
    from pipeline.settings import Settings
    from pipeline.turn import Turn

__all__ = [  # noqa: RUF022 - grouped by topic: it is the table of contents
    # handing requests over
    "Client",
    "Handle",
    "Settings",
    # writing agents
    "agent",
    "Turn",
    # what comes back
    "Answer",
    "Message",
    "Receipt",
    "Reply",
    "Status",
    "Usage",
    # what may go wrong
    "AttemptInterrupted",
    "ClientClosed",
    "ClientForked",
    "ConfigurationError",
    "IdempotencyConflict",
    "InvalidRequest",
    "LedgerUnavailable",
    "PipelineError",
    "ProviderError",
    "QueueFull",
    "RateLimited",
    "ReplayRefused",
    "ReceiptNotFound",
    "RequestCancelled",
    "RequestEnded",
    "RequestExpired",
    "RequestFailed",
    "RequestNotFound",
    "SessionBusy",
    "WaitTimeout",
]

#: Where the names come from, errors apart. They are imported when first used: `import pipeline` does no work.
_HOME = {
    "Client": "pipeline.client",
    "Handle": "pipeline.client",
    "Settings": "pipeline.settings",
    "agent": "pipeline.agents",
    "Turn": "pipeline.turn",
    "Answer": "pipeline.schemas",
    "Message": "pipeline.schemas",
    "Receipt": "pipeline.schemas",
    "Reply": "pipeline.schemas",
    "Status": "pipeline.schemas",
    "Usage": "pipeline.schemas",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "celery":
        # What `celery -A pipeline …` looks for.
        from pipeline.app import for_command_line

        globals()["celery"] = app = for_command_line()
        return app
    if name not in __all__:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME.get(name, "pipeline.errors")), name)
