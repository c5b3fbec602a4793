"""Counts on their way from a process that has ended to one that serves them."""

from __future__ import annotations

import json

from pipeline.estate import Totals
from pipeline.store.database import Database
from pipeline.users import OTHER

#: Whoever erases one of these waits until the counts are there, and then finds them.
LABELLED = "SELECT user_id FROM metric_users WHERE user_id = ANY(%s) ORDER BY user_id FOR KEY SHARE"

LEAVE = "INSERT INTO metric_estates (totals) VALUES (%s)"

#: Each is adopted once; one that another is adopting is left to it.
ADOPT = """
DELETE FROM metric_estates WHERE id IN (
    SELECT id FROM metric_estates ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED)
RETURNING totals
"""


def leave(database: Database, totals: Totals) -> None:
    """Hand on what a process has counted; that of users who have no label any more, as all others'.

    Raises what `database.UNAVAILABLE` lists.
    """
    if not totals:
        return
    users = {text for _, labels in totals for label, text in labels if label == "user_id"}
    with database.connection() as connection, connection.transaction():
        named = {row[0] for row in connection.execute(LABELLED, [list(users)])}

        def shown(label: str, text: str) -> tuple[str, str]:
            return label, OTHER if label == "user_id" and text not in named else text

        rows = [[name, [shown(*label) for label in labels], value] for (name, labels), value in totals.items()]
        connection.execute(LEAVE, [json.dumps(rows)])


def adopt(database: Database) -> Totals:
    """What others have left: it is the caller's to serve from here on."""
    adopted: Totals = {}
    with database.connection() as connection:
        for (rows,) in connection.execute(ADOPT):
            for name, labels, value in rows:
                series = name, tuple((label, text) for label, text in labels)
                adopted[series] = adopted.get(series, 0) + value
    return adopted
