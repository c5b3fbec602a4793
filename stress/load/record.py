"""What a sender tells of one request."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """One request. Times are seconds of the machine's monotonic clock, which all of its processes share.

    It was `due` when the load wanted it sent, and `sent` when the sender came to it, which then `waited` so many
    seconds until it had a thread to submit it in. `outcome` is that of the request, or `refused` when it was not
    accepted, `overdue` when its caller lost patience, `not found` when its caller was told that there is no such
    request, and `unread` when the caller could not be told what became of it. `id` is None unless it was accepted;
    `error` names what went wrong, and why.
    """

    due: float
    sent: float
    accepted: float | None
    ended: float
    outcome: str
    id: str | None = None
    error: str | None = None
    attempts: int = 0
    user: str = ""
    waited: float = 0.0

    @property
    def submitted(self) -> float:
        """When `submit()` was called."""
        return self.sent + self.waited
