"""The client's verbs that erase."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from uuid import UUID

from pipeline.client.submission import check_id
from pipeline.erasure import Eraser
from pipeline.errors import ReceiptNotFound
from pipeline.schemas import Receipt
from pipeline.store.erasures import Scope


class Erasing(ABC):
    """What a client can do to leave nothing of somebody."""

    @property
    @abstractmethod
    def _eraser(self) -> Eraser: ...

    def erase(self, user_id: str, conversation_id: str | None = None) -> Receipt:
        """Erase a conversation, or without one all of the user's: messages hot and archived, requests and what came
        of them, summaries, streams. What waits or runs ends without an outcome. What is submitted later is kept.

        Erasing what is not there is no error. The receipt is not complete where storage or the broker is away: the
        workers' upkeep goes on until it is. Raises InvalidRequest, LedgerUnavailable.
        """
        check_id("user_id", user_id)
        if conversation_id is not None:
            check_id("conversation_id", conversation_id)
        return self._eraser.erase(Scope(user_id, conversation_id))

    def receipt(self, receipt_id: str) -> Receipt:
        """What an erasure has removed so far. Raises ReceiptNotFound, LedgerUnavailable."""
        try:
            id_ = UUID(receipt_id)
        except ValueError:
            raise ReceiptNotFound(receipt_id) from None
        return self._eraser.receipt(id_)

    async def aerase(self, user_id: str, conversation_id: str | None = None) -> Receipt:
        """`erase` for asyncio."""
        return await asyncio.to_thread(self.erase, user_id, conversation_id)
