"""Erasures: first a row that says what is to go, then the rows of the sessions, then what is elsewhere.

Locks are taken in the ledger's order, users first, then sessions, requests and archives. Nothing is held while
storage or the broker work.
"""

from pipeline.store.erasures.begin import BEGIN, begin
from pipeline.store.erasures.erase import ERASE, erase
from pipeline.store.erasures.handfuls import handfuls
from pipeline.store.erasures.receipts import receipt
from pipeline.store.erasures.records import Erased, Scope, Unfinished
from pipeline.store.erasures.traces import (
    condemned,
    failed,
    finish,
    not_removed,
    removed,
    resume,
    rows_gone,
    streams_gone,
    unfinished,
)

#: The functions that the database must have.
PROCEDURES = (BEGIN, ERASE)

__all__ = [
    "PROCEDURES",
    "Erased",
    "Scope",
    "Unfinished",
    "begin",
    "condemned",
    "erase",
    "failed",
    "finish",
    "handfuls",
    "not_removed",
    "receipt",
    "removed",
    "resume",
    "rows_gone",
    "streams_gone",
    "unfinished",
]
