"""An end that may be tried again, although nobody knows whether the try before it went through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from pipeline.store.database import Database
from pipeline.store.ledger.end import NOTHING, Ended, end, in_force
from pipeline.store.ledger.records import Ending

#: An attempt's calls are kept together, in the commit that its ending is of, whether that took effect or not.
BOOKED = """
SELECT i.id, i.fence FROM unnest(%(ids)s::uuid[], %(fences)s::bigint[]) AS i(id, fence)
WHERE EXISTS (SELECT FROM calls AS c WHERE c.request_id = i.id AND c.fence = i.fence)
"""


@dataclass
class RepeatableEnd:
    """`end`, as a verb that `Database.until_available` may call again and again.

    After a lost connection the last commit's fate is unknown. Had it gone through, what it did stands in the rows;
    repeating it would find the fence gone and take its own success for another's, or keep the calls of an attempt
    that has lost its claim, and their cost, twice. Endings without a fence are to be of requests that were seen to
    be unfinished just before.
    """

    database: Database
    endings: Sequence[Ending]
    concurrency: int
    most_hot: int | None = None
    _tried: bool = False

    def __call__(self) -> Ended:
        done, rest = self._left() if self._tried else (NOTHING, self.endings)
        self._tried = True
        ended = end(self.database, rest, concurrency=self.concurrency, most_hot=self.most_hot)
        return Ended(
            ended.ids | done.ids,
            {
                origin: [*done.outcomes.get(origin, ()), *ended.outcomes.get(origin, ())]
                for origin in {*done.outcomes, *ended.outcomes}
            },
            ended.publications,
            ended.crowded,
            {**done.courses, **ended.courses},
        )

    def _left(self) -> tuple[Ended, list[Ending]]:
        done = in_force(self.database, self.endings)
        booked = _booked(self.database, self.endings)
        left = [one for one in self.endings if one.id not in done.ids]
        return done, [replace(one, calls=()) if (one.id, one.fence) in booked else one for one in left]


def _booked(database: Database, endings: Sequence[Ending]) -> set[tuple[UUID, int]]:
    paid = [one for one in endings if one.calls]
    if not paid:
        return set()
    with database.connection() as connection:
        given = {"ids": [one.id for one in paid], "fences": [one.fence for one in paid]}
        return {(id_, fence) for id_, fence in connection.execute(BOOKED, given).fetchall()}
