"""Receipts: what an erasure has removed so far."""

from __future__ import annotations

from uuid import UUID

from pipeline.errors import ReceiptNotFound
from pipeline.schemas import Receipt
from pipeline.store.database import Database

#: The columns of Receipt, in its order.
RECEIPT = """
SELECT id::text, scope, begun_at, finished_at, session_count, message_count, archived_count, archive_count,
    summary_count, request_count, cancelled_count, attempt_count, call_count
FROM erasures WHERE id = %s
"""


def receipt(database: Database, id_: UUID) -> Receipt:
    """An erasure's receipt. Raises ReceiptNotFound."""
    with database.connection() as connection:
        row = connection.execute(RECEIPT, [id_]).fetchone()
    if row is None:
        raise ReceiptNotFound(str(id_))
    return Receipt(*row)
