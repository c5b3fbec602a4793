"""How migrations run: one at a time over the whole fleet, and never queueing behind a long transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

# their tables are known once they are imported
import pipeline.store.archives.models
import pipeline.store.erasures.models
import pipeline.store.measures.models  # noqa: F401 - see above
from pipeline.store.migrate import ADVISORY_LOCK, LOCK_TIMEOUT
from pipeline.store.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
with context.begin_transaction():
    # The lock first, without a limit: a second `upgrade` waits for the first, then finds nothing to do.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": LOCK_TIMEOUT})
    context.run_migrations()
