"""In which order faults strike, and how long after each other: by chance, but the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from stress.chaos.fault import FAULTS, Fault

#: Seconds between the recovery from one fault and the next.
PAUSE = (1.0, 4.0)


def schedule(faults: Sequence[Fault], random: Random) -> Iterator[tuple[Fault, float]]:
    """Without end: each fault once, in an order of chance, then each again; and the pause in seconds before it."""
    while True:
        for fault in random.sample(list(faults), len(faults)):
            yield fault, random.uniform(*PAUSE)


def chosen(given: str) -> list[Fault]:
    """Of `all`, families and names, separated by commas. Raises ValueError that names what is neither."""
    families = {fault.family for fault in FAULTS.values()}
    wanted = [part.strip() for part in given.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in FAULTS and part not in families and part != "all"]
    if unknown or not wanted:
        known = f"all, the families {', '.join(sorted(families))}, and {', '.join(FAULTS)}"
        raise ValueError(f"{', '.join(unknown) or 'nothing'} is no fault; there are {known}")
    return [fault for fault in FAULTS.values() if {fault.name, fault.family, "all"} & set(wanted)]
