"""Exit 0 when the worker of this container holds a live lease in the ledger, 1 when it does not.

A worker renews its lease from within its own process, so a live one says that the process runs and reaches Postgres.
That costs one small query; `celery inspect ping` would load Celery and ask every worker, each time.
Takes the node's name without its host, as given to `celery worker -n NAME@%h`; `celery` when there is none.
"""

from __future__ import annotations

import os
import socket
import sys

import psycopg

#: The newest one counts: a restarted container has the name of the one before.
LEASE = "SELECT lease_until > now() FROM workers WHERE name = %s ORDER BY started_at DESC LIMIT 1"

#: Seconds to reach Postgres.
CONNECT_TIMEOUT = 3


def main() -> str | None:
    """What is wrong, if anything."""
    name = f"{sys.argv[1] if len(sys.argv) > 1 else 'celery'}@{socket.gethostname()}"
    try:
        with psycopg.connect(os.environ["CITE_AGENT_DATABASE_URL"], connect_timeout=CONNECT_TIMEOUT) as connection:
            row = connection.execute(LEASE, [name]).fetchone()
    except psycopg.Error as fault:
        return f"{name}: the ledger does not answer: {type(fault).__name__}"
    if row is None:
        return f"{name}: not registered"
    return None if row[0] else f"{name}: its lease has ended"


if __name__ == "__main__":
    sys.exit(main())  # a text is printed, and counts as 1
