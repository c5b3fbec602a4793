"""What a user is called in metrics: the first of the fleet by their own name, all others together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

#: What those are called who have no label of their own.
OTHER = "other"

#: Seconds for which the fleet's labels are taken as they were: an erased user's place is free after that.
KEEP = 60.0

#: Gives labels to those of some users for whom there is room. Returns all who have one, and whether there is room for
#: more; None where Postgres is away.
Claim = Callable[[Collection[str]], tuple[Collection[str], bool] | None]


class UserLabels:
    """Asks once for a user it has not heard of, and once in `KEEP` seconds when the fleet's labels are given away.

    `on_lost` is told of users whose label was taken away again.
    """

    def __init__(self, claim: Claim | None = None, *, on_lost: Callable[[str], None] | None = None) -> None:
        self._claim = claim
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._labelled: frozenset[str] = frozenset()
        self._room = claim is not None
        self._asked_at = 0.0

    def of(self, user_id: str) -> str:
        """The user's label."""
        self.learn((user_id,))
        return user_id if user_id in self._labelled else OTHER

    @property
    def known(self) -> frozenset[str]:
        """Those who have a label, as far as this process knows."""
        return self._labelled

    def forget(self, user_id: str) -> None:
        """This user has none any more."""
        with self._lock:
            self._labelled -= {user_id}

    def learn(self, user_ids: Collection[str]) -> None:
        """Ask for labels for those of these users who have none, together; and now and then who still has one."""
        if self._claim is None or not (self._is_old or self._wanted(user_ids)):
            return
        with self._lock:
            unknown = self._wanted(user_ids)  # whoever was here before may have asked for them, too
            if not (unknown or self._is_old):
                return
            self._asked_at = time.monotonic()
            claimed = self._claim(unknown)
            labelled, self._room = (self._labelled, False) if claimed is None else (frozenset(claimed[0]), claimed[1])
            gone, self._labelled = self._labelled - labelled, labelled
        if self._on_lost is not None:
            for user in gone:
                self._on_lost(user)

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._asked_at > KEEP

    def _wanted(self, user_ids: Collection[str]) -> list[str]:
        """Those of these users for whom it is worth asking now."""
        if not (self._room or self._is_old):
            return []
        return [user for user in user_ids if user not in self._labelled]
