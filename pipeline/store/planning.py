"""How a look at everything is planned: it goes on beside the work, and must not grow with what is not looked at."""

from __future__ import annotations

from pipeline.store.database import Connection

#: Indexes alone are read, however small the tables are just now, and by one core: the other ones have work to do.
THROUGH_INDEXES = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true)
"""


def plan_through_indexes(connection: Connection) -> None:
    """Until this transaction ends."""
    connection.execute(THROUGH_INDEXES)
