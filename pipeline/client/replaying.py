"""Asking once more what ended without an answer."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from uuid import UUID

import structlog

from pipeline import signals
from pipeline.client.submission import STREAM_KEY_SIZE, time_ordered_id
from pipeline.courier import Courier
from pipeline.errors import PipelineError, ReplayRefused, RequestNotFound
from pipeline.store.database import Database
from pipeline.store.ledger import Accepted
from pipeline.store.ledger.replay import NotReplayed, Replay, replay

log = structlog.get_logger(__name__)


class Replaying:
    """Replays for one client process, which is told of their outcomes under its `origin`."""

    def __init__(self, database: Database, courier: Courier, origin: str, *, concurrency: int) -> None:
        self._database = database
        self._courier = courier
        self._origin = origin
        self._concurrency = concurrency

    def many(self, request_ids: Sequence[str]) -> list[Accepted | PipelineError]:
        """What became of each, in their order; one that is named twice is replayed once. Raises LedgerUnavailable."""
        asked = [self._replay(text) for text in request_ids]
        known = {one.original: one for one in asked if one is not None}
        results = dict(zip(known, self._accepted(list(known.values())), strict=True))
        found = [results[one.original] if one else NotReplayed(None) for one in asked]
        return [self._told(text, result) for text, result in zip(request_ids, found, strict=True)]

    def _accepted(self, replays: Sequence[Replay]) -> list[Accepted | NotReplayed]:
        if not replays:
            return []
        results, publications = self._database.patiently(
            lambda: replay(self._database, replays, concurrency=self._concurrency)
        )
        self._courier.carry(publications)
        signals.replayed(sum(isinstance(one, Accepted) for one in results))
        return results

    def _told(self, request_id: str, result: Accepted | NotReplayed) -> Accepted | PipelineError:
        if isinstance(result, Accepted):
            log.info("request_replayed", request_id=str(result.id), retry_of=request_id)
            return result
        return RequestNotFound(request_id) if result.why is None else ReplayRefused(request_id, result.why)

    def _replay(self, request_id: str) -> Replay | None:
        try:
            original = UUID(request_id)
        except ValueError:
            return None
        return Replay(original, time_ordered_id(), self._origin, secrets.token_bytes(STREAM_KEY_SIZE))
