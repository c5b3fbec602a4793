"""The archiver that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog

from pipeline import signals
from pipeline.archive.archiver import HANDS, WAITING_HANDS, Archiver
from pipeline.archive.by_provider import ByProvider
from pipeline.archive.storage import open_storage
from pipeline.archive.summary import Extractive
from pipeline.providers.contract import Provider
from pipeline.schemas import Call
from pipeline.settings import Settings
from pipeline.store import spending
from pipeline.store.archives import Rules
from pipeline.store.database import UNAVAILABLE, Database

log = structlog.get_logger(__name__)


def archiver(settings: Settings, database: Database, provider: Provider | None = None) -> Archiver:
    """With summaries by `provider`, if there is one and the settings want it. Raises ConfigurationError."""
    asked = provider if settings.summary_by == "provider" else None
    account = partial(_account, database)
    return Archiver(
        database,
        open_storage(settings.cold_storage),
        Extractive() if asked is None else ByProvider(asked, settings.summary_timeout, account),
        Rules.from_settings(settings),
        settings.archive_compression,
        HANDS if asked is None else WAITING_HANDS,
    )


def _account(database: Database, calls: Sequence[Call]) -> None:
    """Count what a summary cost against the day's budget. A row of `calls` needs a request, and it has none."""
    try:
        spending.add(database, calls)
    except UNAVAILABLE as fault:
        signals.ledger_failed("account")
        log.warning("calls_not_accounted", calls=len(calls), error=type(fault).__name__)
