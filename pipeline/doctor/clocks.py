"""Clocks: leases are by Postgres's, countdowns by the workers', beat's signs of life by the broker's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pipeline.doctor.finding import Finding, fine, warning, wrong
from pipeline.doctor.site import Site

#: Seconds of difference that are worth a word, and those that spoil retries' delays and the times on record.
NOTABLE, TOO_MUCH = 0.5, 2.0

REMEDY = "run a time service (chrony, systemd-timesyncd) on every machine"


def agree(site: Site) -> Iterator[Finding]:
    """Whether Postgres, the broker and this machine have the same time."""

    def postgres() -> float:
        with site.database.connection() as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        return float(row[0]) if row else 0.0

    def broker() -> float:
        seconds, microseconds = site.broker.time()
        return float(seconds) + microseconds / 1_000_000

    for name, ask in (("Postgres", postgres), ("the broker", broker)):
        ask()  # connects
        yield _finding(name, _difference(ask))


def _difference(ask: Callable[[], float]) -> float:
    """Seconds by which a clock is ahead of this machine's, as far as the time that asking took leaves no doubt."""
    before = time.time()
    told = ask()
    after = time.time()
    return max(0.0, told - after) or min(0.0, told - before)


def _finding(name: str, ahead: float) -> Finding:
    if abs(ahead) < NOTABLE:
        return fine(f"{name} has this machine's time")
    said = f"{name} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
    return wrong(said, REMEDY) if abs(ahead) > TOO_MUCH else warning(said, REMEDY)
