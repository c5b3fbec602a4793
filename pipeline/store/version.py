"""Whether a database is at this version of the code: what workers and clients call must be there."""

from __future__ import annotations

from pipeline.errors import ConfigurationError
from pipeline.store import archives, erasures, ledger
from pipeline.store.database import LACKING, Database

#: The functions that a database must have.
PROCEDURES = (*ledger.PROCEDURES, *archives.PROCEDURES, *erasures.PROCEDURES)

PRESENT = "SELECT proname::text FROM pg_proc WHERE proname = ANY(%s)"


def require(database: Database) -> None:
    """Raises ConfigurationError where a function of this version is missing, and what `UNAVAILABLE` lists."""
    names = {one.name for one in PROCEDURES}
    with database.connection() as connection:
        missing = names - {row[0] for row in connection.execute(PRESENT, [list(names)]).fetchall()}
    if missing:
        raise ConfigurationError(f"{LACKING} (it has no function {min(missing)})")
