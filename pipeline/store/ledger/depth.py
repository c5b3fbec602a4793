"""Depth: how many requests wait for a worker."""

from __future__ import annotations

from pipeline.store.database import Database
from pipeline.store.procedures import Procedure

#: From the index of what is unfinished, and no further than anybody wants to know.
DEPTH = Procedure(
    "depth",
    ("_most int",),
    declare="    _waiting bigint;",
    body="""
SELECT count(*) INTO _waiting
FROM (SELECT FROM requests WHERE finished_at IS NULL AND status <> 'running' LIMIT _most) AS waiting;
RETURN to_json(_waiting);
""",
)


def depth(database: Database, *, most: int) -> int:
    """Requests that are accepted, have no outcome and do not run now; at most `most` are counted."""
    return int(DEPTH.call(database, most))
