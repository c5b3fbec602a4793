"""The archives' rows. A row is pending before its object is written and live after it was read back; in the
transaction that makes it live its messages leave the table, in the one that ends that they return.

Locks are taken in one order: sessions by id, then archives. No verb waits for a second session while it holds one,
and none is held while storage or a summariser works.
"""

from pipeline.store.archives.due import due
from pipeline.store.archives.finish import FINISH, Finished, erased, failed, finish
from pipeline.store.archives.lag import Lag, lag
from pipeline.store.archives.read import holding, live, passage, standing, summaries
from pipeline.store.archives.records import Archive, Candidate, Passage, Pending, Rules, Standing, Summary, Written
from pipeline.store.archives.restore import restore
from pipeline.store.archives.take import TAKE, candidates, histories, take

#: The functions that the database must have.
PROCEDURES = (TAKE, FINISH)

__all__ = [
    "PROCEDURES",
    "Archive",
    "Candidate",
    "Finished",
    "Lag",
    "Passage",
    "Pending",
    "Rules",
    "Standing",
    "Summary",
    "Written",
    "candidates",
    "due",
    "erased",
    "failed",
    "finish",
    "histories",
    "holding",
    "lag",
    "live",
    "passage",
    "restore",
    "standing",
    "summaries",
    "take",
]
