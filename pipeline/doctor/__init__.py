"""The doctor: what is wrong with an installation, and what to do about it. One check, one small function.

A check yields its findings; adding one is adding it to CHECKS. It need not care whether what it looks at is there:
that is said once, by the check that asks for it first.
"""

from pipeline.doctor.examination import CHECKS, examine
from pipeline.doctor.finding import Finding, Level

__all__ = ["CHECKS", "Finding", "Level", "examine"]
