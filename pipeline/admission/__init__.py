"""Admission: how much one user may submit, and how much may wait in all. Looked at before anything is stored.

The limits live in the broker, so that all clients share them, and cost one round trip for all that is submitted
together. With the broker away everything is let in, counted: it is the ledger that keeps what was accepted.
"""

from pipeline.admission.gate import Gate
from pipeline.admission.tally import Ask

__all__ = ["Ask", "Gate"]
