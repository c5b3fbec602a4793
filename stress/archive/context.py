"""What a long conversation costs its next request: the claim's own query for the context, on sessions of any length."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from pipeline.settings import Settings
from pipeline.store.ledger.claim import CONTEXT
from stress.archive.content import fill

QUERY = f"""
SELECT context.newest_first
FROM (SELECT %s::bigint AS session_id, %s::int AS _window, %s::bigint AS _most_bytes) AS r
LEFT JOIN summaries AS summary ON summary.session_id = r.session_id
CROSS JOIN LATERAL ({CONTEXT}) AS context
"""  # noqa: S608 - the inserted text is a constant

#: Messages that a worker loads at most, and bytes of them.
WINDOW, MOST_BYTES = (Settings.model_fields[name].default for name in ("max_messages_in_memory", "max_context_bytes"))

#: Queries before those that count.
WARM_UP = 50


def measure(url: str, lengths: Sequence[int], times: int) -> dict[int, list[float]]:
    """Milliseconds of each query, by the session's length, smallest first; the sessions take turns."""
    ids = fill(url, len(lengths), 0)
    found: dict[int, list[float]] = {length: [] for length in lengths}
    options = "-c plan_cache_mode=force_generic_plan -c jit=off"
    with psycopg.connect(url, autocommit=True, options=options, prepare_threshold=0) as connection:
        for id_, length in zip(ids, lengths, strict=True):
            connection.execute(_lengthen(), [length, id_])
        connection.execute("VACUUM ANALYZE messages")
        for turn in range(WARM_UP + times):
            for id_, length in zip(ids, lengths, strict=True):
                began = time.perf_counter()
                rows = connection.execute(QUERY, [id_, WINDOW, MOST_BYTES]).fetchall()
                milliseconds = (time.perf_counter() - began) * 1e3
                assert len(rows[0][0][0]) == min(WINDOW, length)
                if turn >= WARM_UP:
                    found[length].append(milliseconds)
    return {length: sorted(taken) for length, taken in found.items()}


def percentile(taken: Sequence[float], share: float) -> float:
    """Of what is sorted."""
    return taken[min(len(taken) - 1, int(len(taken) * share))]


def _lengthen() -> str:
    return (
        "INSERT INTO messages (session_id, number, request_id, part, role, content)"
        " SELECT s.id, n, gen_random_uuid(), 1, 'user', repeat('word ', 60)"
        " FROM sessions AS s, generate_series(1, %s::int) AS n WHERE s.id = %s"
    )
