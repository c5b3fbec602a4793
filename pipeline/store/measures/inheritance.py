"""How this process leaves what nobody has scraped, and adopts what others left."""

from __future__ import annotations

import psycopg
import structlog

from pipeline import signals
from pipeline.errors import ConfigurationError
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.store.measures import estates

log = structlog.get_logger(__name__)


def leave(database: Database) -> None:
    """Hand on what this process has counted since it was last scraped."""
    unseen = signals.estate.settle()
    try:
        estates.leave(database, unseen)
    except (psycopg.Error, ConfigurationError) as fault:  # the latter of a database of another version
        signals.estate.unsettle(unseen)
        signals.ledger_failed("leave_counts")
        log.warning("counts_not_handed_on", series=len(unseen), error=type(fault).__name__)


def adopt(database: Database) -> bool:
    """Serve what others have left. Returns whether Postgres answered."""
    try:
        signals.estate.adopt(estates.adopt(database))
    except UNAVAILABLE as fault:
        signals.ledger_failed("adopt_counts")
        log.warning("counts_not_adopted", error=type(fault).__name__)
        return False
    return True
