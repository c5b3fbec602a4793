"""Who has a label of their own in metrics: the first users of the fleet, as many as there is room for."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from pipeline import signals
from pipeline.errors import ClientClosed
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.users import Claim

log = structlog.get_logger(__name__)

#: The key of the advisory lock under which labels are given, so that no more are given than there is room for.
ADVISORY_LOCK = 0x63697467

LABELLED = "SELECT user_id FROM metric_users"

#: Whoever has recovery end them is counted in a series that may be new: Prometheus is to see it first.
EXPIRING = """
SELECT DISTINCT user_id FROM requests
WHERE finished_at IS NULL AND deadline < now() + %s * interval '1 second' LIMIT 1000
"""

#: Seconds before a request's deadline from which its user's series are made: several scrapes.
AHEAD = 120.0

#: To users that there are: one who is being erased is waited for, and gets none; whoever erases one next waits for
#: this, and takes it away.
GIVE = """
WITH known AS (
    SELECT user_id FROM users WHERE user_id = ANY(%(users)s) ORDER BY user_id FOR KEY SHARE
)
INSERT INTO metric_users (user_id)
SELECT u.user_id FROM unnest(%(users)s::text[]) WITH ORDINALITY AS u(user_id, ord) JOIN known USING (user_id)
WHERE NOT EXISTS (SELECT FROM metric_users AS m WHERE m.user_id = u.user_id)
ORDER BY u.ord LIMIT greatest(0, %(most)s - (SELECT count(*) FROM metric_users))
ON CONFLICT DO NOTHING
"""


def claim(database: Database, user_ids: Collection[str], *, most: int) -> set[str]:
    """Give labels to those of these users for whom there is room. Returns all who have one."""
    with database.connection() as connection:
        labelled = {row[0] for row in connection.execute(LABELLED)}
        if len(labelled) >= most or labelled.issuperset(user_ids):
            return labelled
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
            connection.execute(GIVE, {"users": list(dict.fromkeys(user_ids)), "most": most})
        return {row[0] for row in connection.execute(LABELLED)}


def free(database: Database, user_id: str) -> None:
    """Take a user's label away, for whoever erases the user: processes forget it when they next look."""
    with database.connection() as connection:
        connection.execute("DELETE FROM metric_users WHERE user_id = %s", [user_id])


def look(database: Database) -> None:
    """Forget here whose label was taken away. Whoever is shown had a label before it is asked who has one."""
    shown = signals.users_shown()
    if not shown or (labelled := _labelled(database)) is None:
        return
    for user in shown - labelled:
        signals.user_forgotten(user)


class Watch:
    """`look` for a process that adopts nothing: what it counts by user stands under labels that it knows.

    To see what is shown takes 20 ms with a hundred users, so it is done only where one that was known is gone; and once
    more after that, for a thread may have been about to count.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[str] = set()
        self._again = False

    def look(self) -> None:
        """Forget here whose label was taken away."""
        known = self._known | signals.users_known()
        labelled = _labelled(self._database)
        if labelled is None:
            return
        gone = bool(known - labelled)
        if gone or self._again:
            look(self._database)
        self._known, self._again = labelled, gone


def _labelled(database: Database) -> set[str] | None:
    """Who has a label; None while Postgres is away."""
    try:
        with database.connection() as connection:
            return {row[0] for row in connection.execute(LABELLED)}
    except UNAVAILABLE as fault:
        signals.ledger_failed("user_labels")
        log.warning("user_labels_unknown", error=type(fault).__name__)
        return None


def expect(database: Database) -> None:
    """Make the series of those whose requests may soon expire: to Prometheus, one that begins at 1 never rose."""
    try:
        with database.connection() as connection:
            expiring = [row[0] for row in connection.execute(EXPIRING, [AHEAD])]
    except UNAVAILABLE as fault:
        signals.ledger_failed("user_labels")
        log.warning("expiring_unknown", error=type(fault).__name__)
        return
    signals.users_met(expiring)
    for user in expiring:
        signals.request_begun(user)


def claiming(database: Database, most: int) -> Claim:
    """`claim` as the labels ask it: while Postgres is away, nobody is given one. Nor by a client that is closed: who is
    counted goes on, and may be another client's, or this process's worker's."""

    def ask(user_ids: Collection[str]) -> tuple[Collection[str], bool] | None:
        try:
            labelled = claim(database, user_ids, most=most)
        except (*UNAVAILABLE, ClientClosed) as fault:
            signals.ledger_failed("user_labels")
            log.warning("user_labels_unknown", error=type(fault).__name__)
            return None
        return labelled, len(labelled) < most

    return ask
