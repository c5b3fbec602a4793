"""Told of what goes wrong with deliveries and leases, and of who sets it right."""

from __future__ import annotations

from pipeline import metrics


def duplicate_delivered() -> None:
    """A request was delivered that was not to be run: it ran already, had ended, or was not its session's turn."""
    metrics.DUPLICATE_DELIVERIES.inc()


def claim_lost(why: str) -> None:
    """An attempt ended without its claim: cancelled, too slow, or taken over."""
    metrics.LOST_CLAIMS.labels(why).inc()


def heartbeat_late() -> None:
    """A worker's sign of life came so late that its lease was as good as lost."""
    metrics.LATE_HEARTBEATS.inc()


def worker_forgotten() -> None:
    """The ledger did not know a living worker any more, which registers again."""
    metrics.FORGOTTEN_WORKERS.inc()


def recovered(why: str, requests: int) -> None:
    """Recovery ended so many requests, ran them again or published them again."""
    metrics.RECOVERED.labels(why).inc(requests)
